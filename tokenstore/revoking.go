package tokenstore

import (
	"context"
	"slices"
)

// givesNoMoreThan reports whether a registration lets its agent do nothing that
// the old one did not: it revokes, or changes nothing. In doubt it reports false,
// which costs a write on a full server.
func (a *Agent) givesNoMoreThan(old *Agent) bool {
	if a.Suspended != old.Suspended && !a.Suspended || a.Generation < old.Generation ||
		a.ApprovalExpires.After(old.ApprovalExpires) ||
		a.SecretDigest != old.SecretDigest && !a.SecretDigest.IsZero() ||
		a.Name != old.Name || a.Developer != old.Developer || a.Purpose != old.Purpose {
		return false
	}
	for _, uri := range a.RedirectURIs {
		if !slices.Contains(old.RedirectURIs, uri) {
			return false
		}
	}
	for _, was := range old.Approvals {
		if len(was.OperatorDenied) > 0 && a.Approval(was.Provider) == nil {
			return false // what an operator denied stays denied
		}
	}
	for i := range a.Approvals {
		if !a.Approvals[i].givesNoMoreThan(old.Approval(a.Approvals[i].Provider)) {
			return false
		}
	}
	return true
}

func (p *Approval) givesNoMoreThan(old *Approval) bool {
	if old == nil {
		return false
	}
	known := old.Approved.Union(old.Pending).Union(old.Denied)
	return len(p.Approved.Minus(old.Approved)) == 0 && len(p.Pending.Minus(old.Pending)) == 0 &&
		len(p.Denied.Minus(known)) == 0 && len(p.OperatorDenied.Minus(known)) == 0 &&
		len(old.OperatorDenied.Minus(p.OperatorDenied)) == 0
}

type revokingKey struct{}

// Revoking marks what is done in ctx as a step of a revocation: [Store.Once] then
// remembers its value also when the server is full, because the revocation would
// fail without. Use it for authenticated callers only: others could fill the
// server further.
func Revoking(ctx context.Context) context.Context {
	return context.WithValue(ctx, revokingKey{}, true)
}

func isRevoking(ctx context.Context) bool { return ctx.Value(revokingKey{}) != nil }
