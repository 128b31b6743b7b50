package athflow

import (
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// judgeAll lets the policy judge what the record does not hold yet, and
// reports whether anything came of it. An approval that has ended is judged
// anew, from nothing but what an operator denied.
func (f *Flow) judgeAll(next *tokenstore.Agent, req *registerRequest, agent ath.AgentID, developer tokenstore.Developer, known bool) (changed bool, err error) {
	if next.Suspended {
		return false, ath.Errorf(ath.AgentUnapproved, "The agent is suspended.")
	}
	if known && !f.Now().Before(next.ApprovalExpires) {
		if next.Standing() == tokenstore.Approved {
			next.Approvals, next.RedirectURIs = barredOnly(next.Approvals), nil
		}
		next.ApprovalExpires = time.Time{}
	}
	for _, asked := range req.Providers {
		id, aliases := asked.ID, []string(nil)
		p := f.Providers.Lookup(asked.ID)
		if p != nil {
			id, aliases = p.ID, p.Aliases
		}
		a := next.Approval(id, aliases...)
		isNew := a == nil
		if isNew {
			if len(next.Approvals) >= maxRequestedProvider {
				return false, invalidField("requested_providers", "An agent may ask for at most %d providers.", maxRequestedProvider)
			}
			next.Approvals = append(next.Approvals, tokenstore.Approval{Provider: id})
			a = &next.Approvals[len(next.Approvals)-1]
		}
		was := *a
		if p == nil {
			a.Denied = a.Denied.Union(asked.Scopes)
			a.DenialReason = "There is no such provider."
		} else {
			f.judgeScopes(next, a, p.Names(), p.Scopes, asked.Scopes, agent, developer.ID)
		}
		if isNew || len(a.Approved) > len(was.Approved) || len(a.Pending) > len(was.Pending) || len(a.Denied) > len(was.Denied) {
			changed = true
		}
		if len(a.Approved)+len(a.Pending)+len(a.Denied) > ath.MaxScopes {
			return false, invalidField("requested_providers", "An agent may ask for at most %d scopes of a provider.", ath.MaxScopes)
		}
	}
	if next.ApprovalExpires.IsZero() {
		next.ApprovalExpires = f.Now().UTC().Add(DefaultApproval).Truncate(time.Second)
	}
	return changed, nil
}

// judgeScopes judges the scopes that are not approved yet. One that is under
// review stays there unless today's policy approves it.
func (f *Flow) judgeScopes(next *tokenstore.Agent, a *tokenstore.Approval, provider []string, available ath.Scopes, asked []string, agent ath.AgentID, developer string) {
	for _, s := range asked {
		if a.Approved.Has(s) || a.Barred.Has(s) { // an operator's word stands
			continue
		}
		action, expires := Deny, time.Duration(0)
		reason := "The provider does not offer every scope asked for."
		if available.Has(s) {
			action, expires = f.Policy.judge(agent, developer, provider, s)
			reason = "The operator's policy does not allow every scope asked for."
		}
		one := ath.Scopes{s}
		switch action {
		case Approve:
			a.Approved, a.Pending, a.Denied = a.Approved.Union(one), a.Pending.Minus(one), a.Denied.Minus(one)
			end := f.Now().UTC().Add(expires).Truncate(time.Second)
			if next.ApprovalExpires.IsZero() || end.Before(next.ApprovalExpires) {
				next.ApprovalExpires = end
			}
		case Review:
			a.Pending, a.Denied = a.Pending.Union(one), a.Denied.Minus(one)
		default:
			if !a.Pending.Has(s) {
				a.Denied = a.Denied.Union(one)
				a.DenialReason = reason
			}
		}
	}
	if len(a.Denied) == 0 {
		a.DenialReason = ""
	}
}
