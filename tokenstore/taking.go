package tokenstore

import (
	"context"
	"slices"
)

// givesNoMoreThan reports whether a registration lets its agent do nothing that
// the old one did not, and so only takes away, or nothing at all. It errs on
// the side of no: that costs a write on a full server.
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
			return false // what an operator barred stays barred
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

type takingKey struct{}

// TakingAway marks what is done in ctx as a step of taking rights away: the
// value that [Store.Once] then remembers is remembered also when the server is
// full, since the step would fail without. Nobody but who has proved who it is
// may come so far.
func TakingAway(ctx context.Context) context.Context {
	return context.WithValue(ctx, takingKey{}, true)
}

func isTakingAway(ctx context.Context) bool { return ctx.Value(takingKey{}) != nil }
