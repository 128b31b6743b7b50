package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

const maxPending = 100

func (d *doctor) agents(ctx context.Context, f *findings) {
	const asked = "which agents wait for an operator"
	var list api.AgentList
	if why, cure := d.askAthd(ctx, fmt.Sprintf("%s?status=pending&limit=%d", ath.AdminAgentsPath, maxPending), &list); why != "" {
		f.notAsked("pending", asked, why, cure)
		return
	}
	if n := len(list.Unreadable); n > 0 {
		f.fault("unreadable", asked, counted(n, "record")+" of agents do not open: sealed with another keyset, or tampered with", "athctl agents list -o json names them (unreadable); store.keyset_file must be what sealed them")
	}
	n := len(list.Agents)
	if n == 0 {
		f.ok("pending", asked, "none")
		return
	}
	many := counted(n, "agent") + " wait for you: "
	switch {
	case n == 1:
		many = "1 agent waits for you: "
	case list.Next != "":
		many = fmt.Sprintf("%d agents and more wait for you: ", n)
	}
	var names []string
	for _, a := range list.Agents[:min(n, 3)] {
		names = append(names, a.ClientID+" ("+a.AgentID+")")
	}
	f.warn("pending", asked, many+strings.Join(names, ", "), "athctl agents show "+cli.ShellWord(list.Agents[0].ClientID, 80)+", then athctl agents approve or deny; athctl agents list --status pending lists all")
}

// advice is what to do about a reason for refusals that an operator can change.
// All others are the agent's to mend: docs/agents.md.
var advice = map[string]string{
	"scope_missing":             "the agent asks for the scope anew, or the provider's scope_rules are too narrow",
	"store_unavailable":         "see what is said of Redis above",
	"record_corrupt":            "see redis.keyset above",
	"provider_unknown":          "Envoy's routes lead where no provider is: athctl verify-envoy",
	"agent_not_approved":        "athctl agents list, then athctl agents approve CLIENT_ID",
	"approval_expired":          "athctl agents approve CLIENT_ID --expires 90d",
	"invalid_attestation":       "docs/guides/troubleshooting.md, by details.reason; a clock that is off is said above",
	"reauthorization_required":  "the user consents again",
	"agent_registration_denied": "the policy of approval in athd.yaml",
}

func (d *doctor) refusals(ctx context.Context, f *findings) {
	const asked = "what the athd that answers refused last"
	var list api.RefusalList
	if why, cure := d.askAthd(ctx, ath.AdminRefusalsPath, &list); why != "" {
		f.notAsked("last", asked, why, cure)
		return
	}
	counts, last := map[string]int{}, map[string]api.Refusal{}
	for _, r := range slices.Backward(list.Refusals) { // the newest comes last, and stays
		if !d.asked.has(r.DecisionID) {
			counts[r.Reason] += r.Count
			last[r.Reason] = r
		}
	}
	if len(counts) == 0 {
		f.ok("last", asked, "nothing since "+list.Since)
		return
	}
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	for _, reason := range reasons[:min(len(reasons), 5)] {
		r := last[reason]
		cure := "athctl explain " + cli.ShellWord(r.Method, 40) + " " + cli.ShellWord(r.Path, 300) + " judges such a call aloud; athctl refusals lists all"
		// A path that is not shown, since a token is in it, is none that explain takes.
		if !strings.HasPrefix(r.Path, "/") || strings.HasPrefix(r.Path, ath.PathRoot+"/") && !strings.HasPrefix(r.Path, ath.ProxyPath) {
			cure = "grep " + cli.ShellWord(r.DecisionID, 80) + " in athd's log; athctl refusals lists all"
		}
		if text := advice[reason]; text != "" {
			cure = text + "; " + cure
		}
		f.warn("last", asked, fmt.Sprintf("%d × %s (%s), the last at %s: %s %s [%s]", counts[reason], reason, r.Code, r.Time, r.Method, r.Path, r.DecisionID), cure)
	}
}
