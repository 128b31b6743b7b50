package audit

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/athd/athd/ath"
)

// Lines are those that slog's handlers would write. Strings that need no
// escape, which is nearly all of them, are appended here; slog, which looks at
// each list by reflection, writes the rest.

// fields tells an event's texts and lists by name, in the order of a line.
func (e *Event) fields(text func(name, value string), list func(name string, values ath.Scopes)) {
	text("event", string(e.Kind))
	text("agent_id", e.AgentID)
	text("user_id", e.UserID)
	text("provider_id", e.ProviderID)
	list("requested_scopes", e.Requested)
	list("effective_scopes", e.Effective)
	list("denied_scopes", e.Denied)
	text("denial_reason", e.Reason)
	text("decision_id", e.DecisionID)
	if e.Host != "" {
		text("host", e.Host)
	}
	if e.By != "" {
		text("by", e.By)
	}
	if e.Client != "" {
		text("client_address", e.Client)
	}
	if e.Upstream != "" {
		text("upstream_error", e.Upstream)
	}
	if e.Count > 0 {
		text("count", strconv.Itoa(e.Count))
	}
}

// appendJSON appends an event as slog's JSONHandler writes it.
func appendJSON(line []byte, now time.Time, e *Event) []byte {
	if !plain(e, false) {
		return bySlog(line, now, e, func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) })
	}
	text := func(name, value string) {
		line = append(append(append(line, `,"`...), name...), `":"`...)
		line = append(append(line, value...), '"')
	}
	list := func(name string, values ath.Scopes) {
		line = append(append(append(line, `,"`...), name...), `":[`...)
		for i, s := range values {
			if i > 0 {
				line = append(line, ',')
			}
			line = append(append(append(line, '"'), s...), '"')
		}
		line = append(line, ']')
	}
	line = append(line, `{"time":"`...)
	line = now.AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","level":"INFO","msg":"audit","timestamp":"`...)
	line = append(e.Time.UTC().AppendFormat(line, time.RFC3339Nano), '"')
	e.fields(text, list)
	if e.Derived {
		line = append(line, `,"derived_rule":true`...)
	}
	return append(line, '}', '\n')
}

// appendText appends an event as slog's TextHandler writes it.
func appendText(line []byte, now time.Time, e *Event) []byte {
	if !plain(e, true) {
		return bySlog(line, now, e, func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) })
	}
	text := func(name, value string) {
		line = append(append(append(line, ' '), name...), '=')
		if value == "" {
			value = `""`
		}
		line = append(line, value...)
	}
	list := func(name string, values ath.Scopes) {
		line = append(append(append(line, ' '), name...), '=')
		start := len(line)
		line = append(line, '[')
		for i, s := range values {
			if i > 0 {
				line = append(line, ' ')
			}
			line = append(line, s...)
		}
		line = append(line, ']')
		if len(values) > 1 { // the spaces want quotes
			line = strconv.AppendQuote(line[:start], string(line[start:]))
		}
	}
	line = now.AppendFormat(append(line, "time="...), "2006-01-02T15:04:05.000Z07:00")
	line = append(line, " level=INFO msg=audit timestamp="...)
	line = e.Time.UTC().AppendFormat(line, time.RFC3339Nano)
	e.fields(text, list)
	if e.Derived {
		line = append(line, " derived_rule=true"...)
	}
	return append(line, '\n')
}

// plain reports whether none of an event's strings needs an escape, nor, where
// they stand alone, quotes.
func plain(e *Event, alone bool) bool {
	is := func(s string) bool {
		for i := range len(s) {
			c := s[i]
			if c < ' ' || c > '~' || c == '"' || c == '\\' || alone && (c == ' ' || c == '=') {
				return false
			}
		}
		return true
	}
	for _, s := range [...]string{string(e.Kind), e.AgentID, e.UserID, e.ProviderID, e.Reason, e.DecisionID, e.By, e.Client, e.Upstream, e.Host} {
		if !is(s) {
			return false
		}
	}
	for _, list := range [...]ath.Scopes{e.Requested, e.Effective, e.Denied} {
		for _, s := range list {
			if !is(s) {
				return false
			}
		}
	}
	return true
}

func bySlog(line []byte, now time.Time, e *Event, handler func(*bytes.Buffer) slog.Handler) []byte {
	r := slog.NewRecord(now, slog.LevelInfo, "audit", 0)
	r.AddAttrs(slog.String("timestamp", e.Time.UTC().Format(time.RFC3339Nano)))
	e.fields(
		func(name, value string) { r.AddAttrs(slog.String(name, value)) },
		func(name string, values ath.Scopes) { r.AddAttrs(slog.Any(name, list(values))) },
	)
	if e.Derived {
		r.AddAttrs(slog.Bool("derived_rule", true))
	}
	w := bytes.NewBuffer(line)
	// A buffer takes everything, and these attributes can all be written.
	_ = handler(w).Handle(context.Background(), r)
	return w.Bytes()
}

// list keeps an absent list from showing as null.
func list(s ath.Scopes) []string {
	if s == nil {
		return []string{}
	}
	return s
}
