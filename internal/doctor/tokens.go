package doctor

import (
	"context"
	"fmt"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/probe"
)

// overdue is for how long, in seconds, a revocation may be due before it is a fault,
// as the alert AthdRevocationsOverdue has it.
const overdue = 300

// tokens asks one athd how it fares with refreshing users' tokens, and with having
// their grants revoked.
func (d *doctor) tokens(ctx context.Context, f *findings) {
	const asked = "whether athd can refresh users' tokens (/metrics on listen.admin)"
	if d.Admin == nil {
		f.notAsked("refresh", asked, "listen.admin is not known", "athctl doctor --admin http://127.0.0.1:9002")
		return
	}
	all, err := probe.Metrics(ctx, d.Admin.Network, d.Admin.At, "athd_refresh", "athd_provider_backed_off", "athd_upstream_revocations")
	if err != nil {
		f.notAsked("refresh", asked, fmt.Sprintf("athd's metrics cannot be read: %v", err), "see what is said of athd above")
		return
	}
	refreshed, wrong := 0., false
	for _, s := range all {
		if s.Value <= 0 {
			continue
		}
		at, n := s.Labels["provider"], fmt.Sprintf("%.0f", s.Value)
		before := len(f.all)
		switch s.Name {
		case "athd_provider_backed_off":
			f.fault("backed_off", asked, at+" gave no tokens several times in a row, and is left alone for some seconds at a time: users' grants are kept, and calls whose token ends get 503",
				"athctl providers check "+cli.ShellWord(at, 127)+" says whether client id and secret are right; the line \"token not refreshed\" of athd's log has what it said")
		case "athd_refreshed_tokens_unwritten":
			f.fault("unwritten", asked, n+" new tokens are in athd's memory only, since Redis does not take them",
				"see what is said of Redis above, and do not kill this athd before: users would have to consent again")
		case "athd_upstream_revocations_overdue_seconds":
			if s.Value > overdue {
				f.fault("revocations_overdue", asked, "a grant has been due to be revoked at its provider for "+n+" s, and no athd has looked at it",
					"see what is said of Redis above; the line \"revocation not looked at\" of athd's log (log.level: debug) says why")
			}
		case "athd_upstream_revocations_total":
			switch s.Labels["outcome"] {
			case "given_up", "dropped", "moved", "unreadable":
				f.warn("not_revoked", asked, n+" grants may live on at "+at+" though their connections have ended ("+s.Labels["outcome"]+")",
					"grep revocation_failed in the audit log says whose: revoke them there")
			case "user_unknown":
				f.warn("user_unknown", asked, n+" grants were not revoked at "+at+", since whose they are is not known, so that others of the same user might have ended with them",
					"say in providers.json how the user is known (issuer with openid in extra_scopes, or userinfo_endpoint), or revocation: each")
			}
		case "athd_refreshes_total":
			switch s.Labels["outcome"] {
			case "refreshed":
				refreshed += s.Value
			case "refused":
				f.warn("refused", asked, at+" has refused "+n+" refresh tokens since athd started: those users must authorize again once their token ends",
					"grep connection_condemned in the audit log says whose, and what the provider said; if a user was disabled and is back: athctl connections refresh CONNECTION_ID")
			case "other_user":
				f.fault("other_user", asked, at+" gave another user's token at "+n+" refreshes: nothing of them was kept", "tell the provider; grep refresh_other_user in the audit log says whose connections ended")
			case "unwritten":
				f.warn("lost", asked, n+" new tokens of "+at+" were lost", "grep connection_condemned in the audit log says which users must authorize again")
			}
		}
		wrong = wrong || len(f.all) > before
	}
	if !wrong {
		f.ok("refresh", asked, fmt.Sprintf("nothing is wrong; %.0f refreshes since athd started", refreshed))
	}
}
