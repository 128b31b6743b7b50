package athflow

import (
	"slices"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

const (
	noSuchProvider = "There is no such provider."
	notOffered     = "The provider does not offer every scope asked for."
	notAllowed     = "The operator's policy does not allow every scope asked for."
)

// A verdict is what came of judging a request against a record.
type verdict struct {
	changed bool // the record holds something that it did not hold before
	// unknown is what was asked for and does not exist. It is answered and not
	// stored: whoever asks chooses how much it is.
	unknown []tokenstore.Approval
}

// with returns what a record says, and beside it what does not exist.
func (v *verdict) with(stored []tokenstore.Approval) []tokenstore.Approval {
	out := slices.Clone(stored)
	for _, u := range v.unknown {
		at := slices.IndexFunc(out, func(p tokenstore.Approval) bool { return p.Provider == u.Provider })
		if at < 0 {
			out = append(out, u)
			continue
		}
		out[at].Denied, out[at].DenialReason = out[at].Denied.Union(u.Denied), u.DenialReason
	}
	return out
}

// judgeAll lets the policy judge what the record does not hold yet. An approval
// that has ended is judged again, from nothing but what an operator denied (R-5,
//
func (f *Flow) judgeAll(next *tokenstore.Agent, req *api.RegisterRequest, agent ath.AgentID, developer tokenstore.Developer, known bool) (verdict, error) {
	v := verdict{}
	if next.Suspended {
		return v, ath.Errorf(ath.AgentUnapproved, "The agent is suspended.")
	}
	if known && !f.Now().Before(next.ApprovalExpires) {
		if next.Standing() == tokenstore.Approved {
			next.Approvals, next.RedirectURIs = operatorDenials(next.Approvals), nil
		}
		next.ApprovalExpires = time.Time{}
		next.Generation++ // it registers anew: what users allowed the one before has ended (T-8)
	}
	policy, exists := f.Policy.About(agent, developer.ID), false
	set := f.Providers.Current()
	for _, asked := range req.Providers {
		p := set.Lookup(asked.ID)
		if p == nil {
			v.unknown = append(v.unknown, tokenstore.Approval{Provider: asked.ID, Denied: asked.Scopes, DenialReason: noSuchProvider})
			continue
		}
		scopes := ath.Scopes(asked.Scopes)
		if rest := scopes.Minus(p.Scopes); len(rest) > 0 {
			name := p.ID
			if a := next.Approval(p.ID, p.Aliases...); a != nil {
				name = a.Provider // of a time when it had another name
			}
			v.unknown = append(v.unknown, tokenstore.Approval{Provider: name, Denied: rest, DenialReason: notOffered})
			scopes = scopes.Intersect(p.Scopes)
		}
		if len(scopes) == 0 {
			continue
		}
		exists = true
		a := next.Approval(p.ID, p.Aliases...)
		if a == nil {
			if len(next.Approvals) >= api.MaxProviders {
				return v, httpapi.InvalidField("requested_providers", "An agent may ask for at most %d providers.", api.MaxProviders)
			}
			next.Approvals = append(next.Approvals, tokenstore.Approval{Provider: p.ID})
			a = &next.Approvals[len(next.Approvals)-1]
		}
		was := *a
		f.judgeScopes(next, a, policy.At(p.Names()), scopes)
		if len(a.Approved) > len(was.Approved) || len(a.Pending) > len(was.Pending) || len(a.Denied) > len(was.Denied) {
			v.changed = true
		}
		if len(a.Approved)+len(a.Pending)+len(a.Denied) > ath.MaxScopes {
			return v, httpapi.InvalidField("requested_providers", "An agent may ask for at most %d scopes of a provider.", ath.MaxScopes)
		}
	}
	// Who asks for nothing that exists hears so each time.
	v.changed = v.changed || !exists
	if next.ApprovalExpires.IsZero() {
		next.ApprovalExpires = f.Now().UTC().Add(approval.DefaultApproval).Truncate(time.Second)
	}
	return v, nil
}

// judgeScopes judges the scopes that are not approved yet. One that is under
// review stays there unless today's policy approves it.
func (f *Flow) judgeScopes(next *tokenstore.Agent, a *tokenstore.Approval, policy *approval.Policy, asked ath.Scopes) {
	var yes, wait, no ath.Scopes
	for _, s := range asked.Minus(a.Approved).Minus(a.OperatorDenied) { // an operator's word stands
		switch action, expires := policy.Judge(s); action {
		case approval.Approve:
			yes = append(yes, s)
			end := f.Now().UTC().Add(expires).Truncate(time.Second)
			if next.ApprovalExpires.IsZero() || end.Before(next.ApprovalExpires) {
				next.ApprovalExpires = end
			}
		case approval.Review:
			wait = append(wait, s)
		default:
			no = append(no, s)
		}
	}
	if no = no.Minus(a.Pending); len(no) > 0 {
		a.DenialReason = notAllowed
	}
	a.Approved = a.Approved.Union(yes)
	a.Pending = a.Pending.Minus(yes).Union(wait)
	a.Denied = a.Denied.Minus(yes).Minus(wait).Union(no)
	if len(a.Denied) == 0 {
		a.DenialReason = ""
	}
}
