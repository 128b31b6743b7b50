package audit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// A form is how a line is written: as slog's JSONHandler or TextHandler does,
// byte for byte. Why not by them: every decision writes a line, for which slog
// takes 3.8 µs and 12 allocations, this 0.4 µs and none, and the rest of a
// decision 6 µs and 20 (BenchmarkLine).
type form struct{ json bool }

// line appends the line of an event.
func (f form) line(to []byte, now time.Time, e *Event) []byte {
	if f.json {
		to = now.AppendFormat(append(to, `{"time":"`...), time.RFC3339Nano)
		to = append(to, `","level":"INFO","msg":"audit","timestamp":"`...)
		to = append(e.Time.UTC().AppendFormat(to, time.RFC3339Nano), '"')
	} else {
		to = now.AppendFormat(append(to, "time="...), "2006-01-02T15:04:05.000Z07:00")
		to = e.Time.UTC().AppendFormat(append(to, " level=INFO msg=audit timestamp="...), time.RFC3339Nano)
	}
	for i := range fields {
		switch x := &fields[i]; {
		case x.list != nil:
			to = f.list(f.name(to, x.name), x.list(e))
		case x.flag != nil:
			if x.flag(e) {
				to = append(f.name(to, x.name), "true"...)
			}
		default:
			if s := x.text(e); s != "" || !x.optional {
				to = f.text(f.name(to, x.name), s)
			}
		}
	}
	if f.json {
		to = append(to, '}')
	}
	return append(to, '\n')
}

func (f form) name(to []byte, name string) []byte {
	if f.json {
		return append(append(append(to, `,"`...), name...), `":`...)
	}
	return append(append(append(to, ' '), name...), '=')
}

func (f form) text(to []byte, s string) []byte {
	switch {
	case f.json && needsEscape(s):
		w := bytes.NewBuffer(to)
		escaped := json.NewEncoder(w)
		escaped.SetEscapeHTML(false)
		_ = escaped.Encode(s) // a buffer takes everything, and any string can be encoded
		return bytes.TrimSuffix(w.Bytes(), []byte("\n"))
	case f.json:
		return append(append(append(to, '"'), s...), '"')
	case needsQuotes(s):
		return strconv.AppendQuote(to, s)
	}
	return append(to, s...)
}

func (f form) list(to []byte, values []string) []byte {
	start, between := len(to), byte(' ')
	if f.json {
		between = ','
	}
	to = append(to, '[')
	for i, s := range values {
		if i > 0 {
			to = append(to, between)
		}
		if f.json {
			to = f.text(to, s)
		} else {
			to = append(to, s...)
		}
	}
	if to = append(to, ']'); !f.json && needsQuotes(to[start:]) {
		to = strconv.AppendQuote(to[:start], string(to[start:]))
	}
	return to
}

func needsEscape(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return true
		}
	}
	return false
}

// needsQuotes is slog's rule for a value of its TextHandler.
func needsQuotes[T string | []byte](s T) bool {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c <= ' ' || c == '=' || c == '"' {
				return true
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return true
		}
		i += size
	}
	return len(s) == 0
}
