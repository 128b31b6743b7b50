package audit_test

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// reference writes an event by slog alone.
func reference(h slog.Handler, now time.Time, e audit.Event) {
	list := func(s ath.Scopes) []string { return append([]string{}, s...) }
	r := slog.NewRecord(now, slog.LevelInfo, "audit", 0)
	r.Add("timestamp", e.Time.UTC().Format(time.RFC3339Nano), "event", string(e.Kind),
		"agent_id", e.AgentID, "user_id", e.UserID, "provider_id", e.ProviderID,
		"requested_scopes", list(e.Requested), "effective_scopes", list(e.Effective), "denied_scopes", list(e.Denied),
		"denial_reason", e.Reason, "decision_id", e.DecisionID)
	if e.Host != "" {
		r.Add("host", e.Host)
	}
	if e.By != "" {
		r.Add("by", e.By)
	}
	if e.Client != "" {
		r.Add("client_address", e.Client)
	}
	if e.Upstream != "" {
		r.Add("upstream_error", e.Upstream)
	}
	if e.Count > 0 {
		r.Add("count", strconv.Itoa(e.Count))
	}
	if e.Derived {
		r.Add("derived_rule", true)
	}
	h.Handle(context.Background(), r)
}

func sameAsSlog(t *testing.T, now time.Time, e audit.Event) {
	t.Helper()
	for _, json := range []bool{true, false} {
		var got, want bytes.Buffer
		audit.New(audit.Config{Writer: &got, JSON: json, Now: func() time.Time { return now }}).Record(t.Context(), e)
		if e.Time.IsZero() {
			e.Time = now
		}
		if json {
			reference(slog.NewJSONHandler(&want, nil), now, e)
		} else {
			reference(slog.NewTextHandler(&want, nil), now, e)
		}
		// slog escapes these two in one way in a text, and in another in a list.
		same := strings.NewReplacer(`\u0008`, `\b`, `\u000c`, `\f`)
		if same.Replace(got.String()) != same.Replace(want.String()) {
			t.Errorf("got  %swant %s", &got, &want)
		}
	}
}

// A line reads as slog would have written it: nothing in an id or scope forges
// one.
// proves: U-1
func TestLinesAreThoseOfSlog(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 123_456_000, time.FixedZone("", 3600))
	for name, e := range map[string]audit.Event{
		"a zero event":         {},
		"an allowed request":   {Kind: audit.ProxyRequest, AgentID: "https://a.example/agent.json", UserID: "user-1", ProviderID: "shop", Effective: ath.Scopes{"products:read", "orders:write"}, DecisionID: "dec_LGp-nu1KUjtWVZez", Derived: true},
		"a refusal":            {Kind: audit.AccessDenied, Time: now.Add(-time.Hour), Reason: "token_expired", DecisionID: "dec_1"},
		"a refusal's address":  {Kind: audit.AccessDenied, DecisionID: "dec_1", Client: "198.51.100.7"},
		"who did it and where": {Kind: audit.TokenRevoked, By: "ops", Client: "2001:db8::7"},
		"what a server said":   {Kind: audit.AccessDenied, DecisionID: "dec_1", Upstream: "invalid_scope"},
		"a server that forges": {Kind: audit.AccessDenied, Client: "198.51.100.7", Upstream: "x\n{\"event\":\"é\"} =1"},
		"an address that lies": {Client: "1 2=\"3\n"},
		"an operator's action": {Kind: audit.AgentDenied, Denied: ath.Scopes{"x"}, Requested: ath.Scopes{"x", "y"}, By: "ops"},
		"on a host":            {Kind: audit.HostSuspended, Host: "*.example.org", By: "ops"},
		"a flood":              {Kind: audit.AccessDenied, Count: 4711},
		"control characters":   {UserID: "\b\f", Denied: ath.Scopes{"\b\f\x7f"}},
		"an id with a query":   {AgentID: "https://a.example/agent.json?a=b&c=<d>"},
		"a user with a name":   {UserID: `Ada "the first" Lovelace\`},
		"what is not ASCII":    {UserID: "Ådå\u2028\x7f", AgentID: "\xff\x00\n\t", By: "\u00a0"},
		"scopes that are odd":  {Requested: ath.Scopes{"", "a b", `"`, "ü"}, Effective: ath.Scopes{"a=b"}, Denied: ath.Scopes{}},
		"an empty scope alone": {Requested: ath.Scopes{""}, Denied: ath.Scopes{"", ""}},
		"a line that forges":   {UserID: "u\n{\"event\":\"proxy_request\"}"},
	} {
		t.Run(name, func(t *testing.T) {
			sameAsSlog(t, now, e)
			sameAsSlog(t, now.UTC().Truncate(time.Second), e)
		})
	}
}

// proves: U-1
func FuzzLinesAreThoseOfSlog(f *testing.F) {
	f.Add("proxy_request", "https://a.example/agent.json", "user", "read write", "", "ops", "198.51.100.7", true)
	f.Add("", "=", "\"", "a,b", "\\", "", "2001:db8::7", false)
	f.Fuzz(func(t *testing.T, kind, agent, user, scopes, reason, by, client string, derived bool) {
		sameAsSlog(t, time.Date(2026, 11, 22, 12, 0, 0, 1000, time.UTC), audit.Event{
			Kind: audit.Kind(kind), AgentID: agent, UserID: user, ProviderID: by, Requested: strings.Split(scopes, " "),
			Effective: strings.Split(scopes, ","), Reason: reason, DecisionID: user, By: by, Client: client, Derived: derived,
		})
	})
}
