// Package verify holds what a running Envoy is configured with, as its config dump
// says it, against what athd relies on.
package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// An Expectation is what a running Envoy is held against.
type Expectation struct {
	// Providers are what athd knows: of each, ID, APIBase, App and
	// EncodedSlash are looked at.
	Providers *provider.Set
	// Authz is where athd's gRPC listener must be, one address of each replica,
	// as Envoy dials it: "unix:/path" or host:port. Empty: not compared.
	Authz []string
	// ByHost says that athd finds the provider by host and path itself, as
	// where a mesh writes Envoy's configuration: routes need not name one,
	// and what a mesh cannot say is a warning.
	ByHost bool
	// ConsentHost, without a port, has the consent pages and nothing else; no
	// other host has them. The zero Host: they have no host of their own.
	ConsentHost ath.Host
	// CallbackPerProvider says that athd answers below /ath/callback/, too.
	CallbackPerProvider bool
	// ByExtProc says that athd is to be asked by ext_proc, in the place of ext_authz.
	ByExtProc bool
	// WatchesStreams says that athd is to hear of long exchanges until they are over,
	// and KeepsStreams that those go on where nobody hears of them any more.
	// ChecksReplies says that it is to hear of the heads of APIs' replies.
	WatchesStreams, KeepsStreams, ChecksReplies bool
	// Runtime says that athd takes providers while it runs, for which Envoy needs a
	// route; Egress, at which addresses their APIs may be.
	Runtime bool
	Egress  egress.Policy
}

// A Severity says how bad a finding is.
type Severity string

// The severities. A fault lets something through, sends something to where it
// must not go, or stops what should work. A warning is worse than it could be.
const (
	Fault   Severity = "fault"
	Warning Severity = "warning"
)

// A Finding is one way in which Envoy differs from what is needed.
type Finding struct {
	Severity Severity `json:"severity"`
	Where    string   `json:"where"` // listener, virtual host, route or cluster, by their names
	What     string   `json:"what"`
	Remedy   string   `json:"remedy"`
}

// A Verification is what was read and what was found, faults first.
type Verification struct {
	Listeners int       `json:"listeners"`
	Routes    int       `json:"routes"`
	Clusters  int       `json:"clusters"`
	Findings  []Finding `json:"findings"`
}

// Verify reads what Envoy's admin page /config_dump says, with ?include_eds
// or without, and reports every way in which it differs from what keeps
// agents' requests checked. What package envoy/bootstrap writes has no finding.
//
// It sees configuration, not traffic: runtime overrides, and what an unknown
// filter does, it cannot see. Envoy hides from its dump the values of the
// context extensions that routes tell athd; that they are there is seen, and
// the guard, which is not hidden, wants athd's yes to the same provider. The error says that this is no such dump.
func Verify(dump []byte, expect Expectation) (Verification, error) {
	if expect.Providers == nil {
		return Verification{}, errors.New("envoy: providers are required")
	}
	for _, address := range expect.Authz {
		if _, err := envoy.ParseEndpoint(address); err != nil {
			return Verification{}, fmt.Errorf("envoy: athd's address: %w", err)
		}
	}
	v := &verifier{expect: expect, found: map[Finding]bool{}, runtimeClusters: map[string]bool{}}
	if err := v.read(dump); err != nil {
		return Verification{}, err
	}
	v.verifyListeners()
	out := Verification{
		Listeners: len(v.listeners), Routes: v.routesRead, Clusters: len(v.clusters),
		Findings: make([]Finding, 0, len(v.found)),
	}
	for f := range v.found {
		out.Findings = append(out.Findings, f)
	}
	slices.SortFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Where, b.Where),
			cmp.Compare(a.What, b.What), cmp.Compare(a.Remedy, b.Remedy))
	})
	return out, nil
}

// A verifier holds a dump against an expectation.
type verifier struct {
	expect Expectation
	resources
	found           map[Finding]bool // what is said twice is one finding
	routesRead      int
	runtimeClusters map[string]bool // to which routes lead of which athd is told that it says where
	toRuntime       bool            // some route leads to run-time providers
}

func (v *verifier) fault(where, what, remedy string)   { v.say(Fault, where, what, remedy) }
func (v *verifier) warning(where, what, remedy string) { v.say(Warning, where, what, remedy) }

func (v *verifier) say(s Severity, where, what, remedy string) {
	v.found[Finding{Severity: s, Where: where, What: what, Remedy: remedy}] = true
}

// ours is the severity of what the generated configuration always says, and a
// mesh cannot.
func (v *verifier) ours() Severity {
	if v.expect.ByHost {
		return Warning
	}
	return Fault
}
