package admin

import (
	"math"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// approve writes an operator's yes into a registration. What an approval
// that has ended held does not come back with something else; alone, expires
// prolongs it.
func (s *API) approve(a *tokenstore.Agent, req *api.ApproveRequest) error {
	now := s.Now().UTC()
	var until time.Time
	if req.Expires != "" {
		d, err := ath.ParseDuration(req.Expires)
		if err != nil {
			return httpapi.InvalidField("expires", "expires must be a duration such as 90d or 12h, of at most 3650d.")
		}
		until = now.Add(d).Truncate(time.Second)
	}
	set := s.Providers.Current()
	chosen, err := chosen(set, a, req.Providers)
	if err != nil {
		return err
	}
	if len(chosen) == 0 && (until.IsZero() || !anyApproved(a)) {
		return ath.Errorf(ath.Conflict, "Nothing is under review. To approve something else, name it in providers.")
	}
	if len(chosen) > 0 && !now.Before(a.ApprovalExpires) {
		for i := range a.Approvals {
			a.Approvals[i].Approved = nil
		}
	}
	live := anyApproved(a)
	for _, part := range chosen {
		p := set.Get(part.approval.Provider)
		if p == nil || len(part.scopes.Minus(p.Scopes)) > 0 {
			return ath.Errorf(ath.Conflict, "The provider does not offer every scope that would be approved. Deny those, or name others in providers.").
				WithDetail("provider_id", part.approval.Provider).WithDetail("scopes", part.scopes)
		}
		ends, err := s.approvalEnds(a, p.Names(), part.scopes, now)
		if err != nil {
			return err
		}
		if !live || ends.Before(a.ApprovalExpires) {
			a.ApprovalExpires, live = ends, true
		}
		x := part.approval
		x.Approved, x.Pending = x.Approved.Union(part.scopes), x.Pending.Minus(part.scopes)
		x.Denied, x.OperatorDenied = x.Denied.Minus(part.scopes), x.OperatorDenied.Minus(part.scopes)
		if len(x.Denied) == 0 {
			x.DenialReason = ""
		}
	}
	if !until.IsZero() {
		a.ApprovalExpires = until // the operator's own word, longer or shorter
	}
	return nil
}

// approvalEnds is when the policy would end an approval of these scopes.
func (s *API) approvalEnds(a *tokenstore.Agent, provider []string, scopes ath.Scopes, now time.Time) (time.Time, error) {
	id, err := ath.ParseAgentID(a.ID, true)
	if err != nil {
		return time.Time{}, err
	}
	least := time.Duration(math.MaxInt64)
	policy := s.Policy.About(id, a.Developer.ID).At(provider)
	for _, s := range scopes {
		_, expires := policy.Judge(s)
		least = min(least, expires)
	}
	return now.Add(least).Truncate(time.Second), nil
}

// deny writes an operator's no into a registration. It holds against every
// later registration and policy, until an operator approves. What was approved
// before is over at the next decision.
func (s *API) deny(a *tokenstore.Agent, req *api.DenyRequest) error {
	if len(req.Reason) > api.MaxTextBytes {
		return httpapi.InvalidField("reason", "The field is longer than %d bytes.", api.MaxTextBytes)
	}
	chosen, err := chosen(s.Providers.Current(), a, req.Providers)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return ath.Errorf(ath.Conflict, "Nothing is under review. To deny something else, name it in providers; to stop the agent, suspend it.")
	}
	for _, part := range chosen {
		x := part.approval
		x.Approved, x.Pending = x.Approved.Minus(part.scopes), x.Pending.Minus(part.scopes)
		x.Denied, x.OperatorDenied = x.Denied.Union(part.scopes), x.OperatorDenied.Union(part.scopes)
		if x.DenialReason = req.Reason; x.DenialReason == "" {
			x.DenialReason = "An operator denied it."
		}
	}
	return nil
}

// A choice is what an operator decides about at one provider.
type choice struct {
	approval *tokenstore.Approval
	scopes   ath.Scopes
}

// chosen finds what an operator names, or, where nothing is named, all that is
// under review. Only what the agent asked for can be named: the rest is a slip.
func chosen(set *provider.Set, a *tokenstore.Agent, named []api.RequestedProvider) ([]choice, error) {
	var out []choice
	if named == nil {
		for i := range a.Approvals {
			if p := &a.Approvals[i]; len(p.Pending) > 0 {
				out = append(out, choice{p, p.Pending})
			}
		}
		return out, nil
	}
	if len(named) == 0 || len(named) > api.MaxProviders {
		return nil, httpapi.InvalidField("providers", "providers must name between 1 and %d, or be left out for all that is under review.", api.MaxProviders)
	}
	for _, n := range named {
		x := a.Approval(n.ID)
		if p := set.Lookup(n.ID); p != nil {
			x = a.Approval(p.ID, p.Aliases...)
		}
		if x == nil {
			return nil, httpapi.InvalidField("providers.provider_id", "The agent did not ask for a provider of this name.")
		}
		scopes, err := ath.ParseScopes(n.Scopes)
		if err != nil || len(scopes) == 0 {
			return nil, httpapi.InvalidField("providers.scopes", "scopes must name at least one scope, each in the syntax of RFC 6749.")
		}
		if rest := scopes.Minus(x.Approved).Minus(x.Pending).Minus(x.Denied); len(rest) > 0 {
			return nil, httpapi.InvalidField("providers.scopes", "The agent did not ask for every one of these scopes.").WithDetail("scopes", rest)
		}
		out = append(out, choice{x, scopes})
	}
	return out, nil
}

func anyApproved(a *tokenstore.Agent) bool {
	for _, p := range a.Approvals {
		if len(p.Approved) > 0 {
			return true
		}
	}
	return false
}
