package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/athd/athd/authz"
)

// methods that may arrive.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// differences says in which ways what arrived is not what was judged. There
// must be none, whatever was sent.
func (w *world) differences(f *front, o outcome) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	allowed := map[string]judgement{} // by the credential that was given
	for _, j := range o.judged {
		if j.decision.Allowed() {
			allowed[j.decision.Authorization().Reveal()] = j
		}
	}
	for _, a := range o.arrived {
		credentials := a.values("authorization")
		if len(credentials) != 1 {
			fault("%s %q arrived with authorization %q", a.method, a.target, credentials)
			continue
		}
		j, known := allowed[credentials[0]]
		if !known {
			fault("%s %q arrived, though nothing allowed it", a.method, a.target)
			continue
		}
		delete(allowed, credentials[0])
		w.compare(j, a, fault)
	}
	for _, a := range o.companion {
		path, _, _ := strings.Cut(strings.ToLower(a.target), "?")
		handshake := strings.HasPrefix(path, "/ath/") || strings.HasPrefix(path, "/.well-known/ath") || path == "/health"
		if !handshake || strings.HasPrefix(path, "/ath/proxy/") || strings.Contains(path, "%2f") || strings.Contains(path, "%5c") {
			fault("%s %q reached the companion", a.method, a.target)
		}
		for _, v := range a.values("authorization") {
			if strings.Contains(v, "user-") {
				fault("the companion got a user's credential")
			}
		}
	}
	// The mesh asks about these paths, too.
	if f.name == "istio" {
		passed := 0
		for _, j := range o.judged {
			if j.decision.ForCompanion() {
				passed++
			}
		}
		if passed != len(o.companion) {
			fault("%d requests may go to the companion, and it got %d", passed, len(o.companion))
		}
	}
	return faults
}

// compare holds one arrival against the judgement that let it pass.
func (w *world) compare(j judgement, a arrival, fault func(string, ...any)) {
	d := doors[slices.IndexFunc(doors, func(d door) bool { return d.provider == j.decision.Provider })]
	if byAthd := j.decision.Target() != (authz.Target{}); byAthd != slices.Contains(runtimeDoors[j.front], d.provider) {
		fault("athd says where a request to %s goes: %v", d.provider, byAthd)
	}
	mount := j.request.Mount
	if mount == "" {
		mount = "/"
	}
	rest, mounted := strings.CutPrefix(j.request.Path, mount)
	if want := d.base + rest; !mounted || a.target != want {
		fault("judged %q for %s, but %q arrived, not %q", j.request.Path, d.provider, a.target, want)
	}
	if a.method != j.request.Method || !slices.Contains(methods, a.method) {
		fault("judged method %q, but %q arrived", j.request.Method, a.method)
	}
	path, query, _ := strings.Cut(rest, "?")
	if reader, ok := oneReading(path, encodable[d.provider]); !ok {
		fault("%q arrived, which reads otherwise to a server that %s", a.target, reader)
	}
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		fault("%q arrived, whose query holds odd bytes", a.target)
	}
	for decoded := range 3 {
		if strings.Contains(strings.ToLower(query), "ath_tk_") {
			fault("%q arrived with an ATH token in the query, decoded %d times", a.target, decoded)
		}
		query = loosely(query)
	}
	// Nothing in Istio's configuration looks at trailers: see docs/path-canonicalization.md.
	if len(a.trailers) > 0 && j.front != "istio" {
		fault("the trailers %q arrived", a.trailers)
	}
	for _, h := range a.headers {
		switch {
		// Many servers read an underscore as a hyphen.
		case strings.HasPrefix(strings.ReplaceAll(h.name, "_", "-"), "x-ath-") || h.name == "cookie":
			fault("%s arrived", h.name)
		case h.value == "/admin" || h.value == "DELETE":
			fault("%s arrived, which says another method or path", h.name)
		case strings.Contains(h.value, "ath_tk_") && h.name != "x-other":
			fault("an ATH token arrived in %s", h.name)
		}
	}
}
