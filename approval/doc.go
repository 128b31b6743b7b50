// Package approval is the operator's policy on registrations: which
// scopes of which agents are approved, denied, or looked at by an operator, and
// for how long. [Policy.About] and [Policy.At] narrow a [Policy] down to one
// agent and one provider, [Policy.Judge] decides about one scope.
package approval
