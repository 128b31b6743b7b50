package athflow

import (
	"slices"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/tokenstore"
)

// keepsWhatWasReviewed refuses a second registration that changes what an
// operator has looked at, or is looking at: who the agent says it is, what it
// is for, where it sends codes. It holds where today's policy would not have
// approved all that stands by itself. What it adds in scopes is judged as before.
// An operator who removes the registration, or the agent itself, lets it start
// again, and then everything is looked at again.
func (f *Flow) keepsWhatWasReviewed(held *tokenstore.Agent, req *api.RegisterRequest, agent ath.AgentID, identity *attest.Identity, developer tokenstore.Developer) error {
	if !f.reviewed(held, agent) {
		return nil
	}
	var field string
	switch {
	case identity.Name != "" && identity.Name != held.Name:
		field = "name"
	case developer.Name != held.Developer.Name || developer.ID != held.Developer.ID || developer.Contact != "" && developer.Contact != held.Developer.Contact:
		field = "developer"
	case req.Purpose != "" && req.Purpose != held.Purpose:
		field = "purpose"
	case slices.ContainsFunc(req.RedirectURIs, func(u string) bool { return !slices.Contains(held.RedirectURIs, u) }):
		field = "redirect_uris"
	default:
		return nil
	}
	return ath.Errorf(ath.Conflict, "An operator reviews this registration, and what was reviewed cannot be changed by another one. "+
		"To change it, remove the registration and register again, for a new review.").
		WithDetail("field", field).WithDetail("client_id", held.ClientID)
}

func (f *Flow) reviewed(held *tokenstore.Agent, agent ath.AgentID) bool {
	if held.Standing() == tokenstore.Approved && !f.Now().Before(held.ApprovalExpires) {
		return false // it is over, and all is judged again
	}
	policy := f.Policy.About(agent, held.Developer.ID)
	set := f.Providers.Current()
	return slices.ContainsFunc(held.Approvals, func(a tokenstore.Approval) bool {
		names := []string{a.Provider}
		if p := set.Get(a.Provider); p != nil {
			names = p.Names()
		}
		at := policy.At(names)
		return slices.ContainsFunc(a.Approved.Union(a.Pending), func(scope string) bool {
			action, _ := at.Judge(scope)
			return action != approval.Approve
		})
	})
}
