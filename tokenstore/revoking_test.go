package tokenstore

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// On a full server an operator can still take away, and nobody can give.
// proves: R-6
func TestARegistrationThatGivesMoreIsRecognized(t *testing.T) {
	old := Agent{
		ID: "https://a.example/", ClientID: "ath_1", SecretDigest: ath.DigestOf("s"), Name: "A", Purpose: "p",
		RedirectURIs: []string{"https://a.example/1", "https://a.example/2"}, ApprovalExpires: time.Unix(1000, 0), Generation: 2,
		Approvals: []Approval{
			{Provider: "x", Approved: ath.Scopes{"r", "w"}, Pending: ath.Scopes{"p"}, Denied: ath.Scopes{"d", "b"}, OperatorDenied: ath.Scopes{"b"}},
			{Provider: "y", Denied: ath.Scopes{"b"}, OperatorDenied: ath.Scopes{"b"}},
		},
	}
	for name, c := range map[string]struct {
		change func(*Agent)
		less   bool
	}{
		"nothing":               {func(*Agent) {}, true},
		"suspended":             {func(a *Agent) { a.Suspended = true; a.Generation++ }, true},
		"an approval ends soon": {func(a *Agent) { a.ApprovalExpires = time.Unix(999, 0) }, true},
		"a scope is denied": {func(a *Agent) {
			a.Approvals[0].Approved, a.Approvals[0].Denied = ath.Scopes{"r"}, ath.Scopes{"d", "b", "w"}
		}, true},
		"an operator denies a scope": {func(a *Agent) {
			a.Approvals[0].Approved, a.Approvals[0].OperatorDenied = ath.Scopes{"r"}, ath.Scopes{"b", "w"}
		}, true},
		"a provider is taken": {func(a *Agent) { a.Approvals[0].OperatorDenied = nil; a.Approvals = a.Approvals[1:] }, false},
		"a remainder": {func(a *Agent) {
			a.ClientID, a.SecretDigest, a.RedirectURIs, a.ApprovalExpires = "ath_2", ath.Digest{}, nil, time.Time{}
		}, true},
		"one redirect is taken":        {func(a *Agent) { a.RedirectURIs = a.RedirectURIs[1:] }, true},
		"resumed":                      {func(a *Agent) { a.Suspended = false }, true}, // it was not suspended
		"an earlier generation":        {func(a *Agent) { a.Generation-- }, false},
		"an approval ends late":        {func(a *Agent) { a.ApprovalExpires = time.Unix(1001, 0) }, false},
		"another secret":               {func(a *Agent) { a.SecretDigest = ath.DigestOf("t") }, false},
		"another name":                 {func(a *Agent) { a.Name = "B" }, false},
		"another purpose":              {func(a *Agent) { a.Purpose = "q" }, false},
		"another developer":            {func(a *Agent) { a.Developer.ID = "d" }, false},
		"one more redirect":            {func(a *Agent) { a.RedirectURIs = append(a.RedirectURIs, "https://a.example/3") }, false},
		"pending is approved":          {func(a *Agent) { a.Approvals[0].Approved = ath.Scopes{"r", "w", "p"} }, false},
		"denied is approved":           {func(a *Agent) { a.Approvals[0].Approved = ath.Scopes{"r", "w", "d"} }, false},
		"more is pending":              {func(a *Agent) { a.Approvals[0].Pending = ath.Scopes{"p", "q"} }, false},
		"an unknown one is denied":     {func(a *Agent) { a.Approvals[0].Denied = ath.Scopes{"d", "b", "n"} }, false},
		"a bar falls":                  {func(a *Agent) { a.Approvals[0].OperatorDenied = nil }, false},
		"what an operator denied goes": {func(a *Agent) { a.Approvals = a.Approvals[:1] }, false},
		"another provider":             {func(a *Agent) { a.Approvals = append(a.Approvals, Approval{Provider: "z"}) }, false},
	} {
		next := old
		next.Approvals = append([]Approval{}, old.Approvals...)
		next.RedirectURIs = append([]string{}, old.RedirectURIs...)
		c.change(&next)
		if got := next.givesNoMoreThan(&old); got != c.less {
			t.Errorf("%s: gives no more is %v", name, got)
		}
	}
	suspended := old
	suspended.Suspended = true
	if old.givesNoMoreThan(&suspended) {
		t.Error("to resume gives nothing")
	}
}
