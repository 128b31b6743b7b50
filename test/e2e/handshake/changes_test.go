package handshake

import (
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/approval"
)

// Whatever an operator changes is an event: who, with which role, what was before,
// and what is afterwards.
// proves: U-1, O-1
func TestOperatorsChangesSayWhatWasAndWhatIs(t *testing.T) {
	w := newWorld(t, operators, policy(approval.Policy{Default: approval.Review, Rules: []approval.Rule{{Scopes: globs(t, "pictures:read"), Action: approval.Approve}}}))
	a, token := w.live(t, "a")
	b := w.actor("b")
	if r := b.register("gallery", "pictures:read", "pictures:write"); r.status != http.StatusCreated {
		t.Fatal(r.raw)
	}
	second := a.token("gallery", "pictures:read").text("access_token")
	connection := connectionOf(t, second)
	for _, c := range []struct {
		door, body    string
		kind          string
		before, after []string // texts of both; none: there is nothing
	}{
		{"POST " + b.adminPath() + "/approve", `{"providers":[{"provider_id":"gallery","scopes":["pictures:write"]}]}`, "agent_approved",
			[]string{`"gallery approved":["pictures:read"]`, `"gallery pending":["pictures:write"]`}, []string{`"gallery approved":["pictures:read","pictures:write"]`}},
		{"POST " + b.adminPath() + "/deny", `{"providers":[{"provider_id":"gallery","scopes":["pictures:write"]}],"reason":"not that"}`, "agent_denied",
			[]string{`"gallery approved":["pictures:read","pictures:write"]`}, []string{`"gallery approved":["pictures:read"]`, `"gallery denied":["pictures:write"]`, `"gallery denial_reason":"not that"`}},
		{"POST " + b.adminPath() + "/suspend", "", "agent_suspended", []string{`{"status":"approved"}`}, []string{`{"status":"suspended"}`}},
		{"POST " + b.adminPath() + "/resume", "", "agent_resumed", []string{`{"status":"suspended"}`}, []string{`{"status":"approved"}`}},
		{"DELETE " + b.adminPath(), "", "agent_removed", []string{`"status":"approved"`, `"gallery denied":["pictures:write"]`}, nil},
		{"POST /ath/revoke", `{"token":"` + token + `"}`, "token_revoked", []string{`"scopes":["pictures:read"]`, `"expires":"20`}, nil},
		{"POST /ath/revoke", `{"token":"` + token + `"}`, "token_revoked", nil, nil}, // once more
		{"POST /ath/admin/connections/" + connection + "/end", "", "connection_ended", []string{`"connection_id":"` + connection + `"`, `"scopes":["pictures:read"]`, `"tokens":1`}, nil},
		{"POST /ath/admin/hosts/suspend", `{"host":"*.bad.example"}`, "host_suspended", nil, []string{`"suspended":true`, `"by":"april"`}},
		{"POST /ath/admin/hosts/resume", `{"host":"*.bad.example"}`, "host_resumed", []string{`"suspended":true`, `"by":"april"`}, nil},
	} {
		method, path, _ := strings.Cut(c.door, " ")
		since := len(w.log())
		if r := w.ask(method, path, c.body, "X-ATH-User-Token", tokenOf("approver")); r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", c.door, r.status, r.raw)
		}
		events := w.eventsOf(since, c.kind)
		if len(events) != 1 || events[0]["by"] != "april" || events[0]["by_role"] != "approver" || events[0]["decision_id"] == "" {
			t.Fatalf("%s: %v", c.door, events)
		}
		for side, want := range map[string][]string{"before": c.before, "after": c.after} {
			got, _ := events[0][side].(string)
			if (got == "") != (len(want) == 0) {
				t.Errorf("%s: %s is %q, want %q", c.door, side, got, want)
			}
			for _, text := range want {
				if !strings.Contains(got, text) {
					t.Errorf("%s: %s is %s, want %s", c.door, side, got, text)
				}
			}
			if strings.Contains(got, "ath_tk_") {
				t.Errorf("%s: %s is %s", c.door, side, got)
			}
		}
	}
}
