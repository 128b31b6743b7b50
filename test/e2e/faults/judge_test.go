package faults

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/processor"
)

// How long Envoy waits for an answer, and how much longer a busy machine may take.
const (
	timeout = time.Second
	slack   = 8 * time.Second
)

// What a cell of the table says.
const (
	refused  = "503"
	timedOut = "503 after 1 s"
	spoken   = "as it says; the API sees nothing"
	goesOn   = "goes on, judged"
	open     = "**the ATH token reaches the API**"
)

// An expected outcome of a fault.
type expected struct{ right, silent, spoken bool }

// eachFault plays one fault after the other at a moment.
func eachFault(t *testing.T, r *rig, answer processor.Answer, at processor.Moment, try func(t *testing.T, fault string, as expected)) {
	t.Helper()
	for _, f := range processor.Faults() {
		t.Run(f.Name, func(t *testing.T) {
			r.processor.Play(processor.Spoiled(answer, at, f))
			try(t, f.Name, expected{f.Right, f.Silent, f.Spoken})
		})
	}
	for _, f := range processor.WireFaults() {
		t.Run(f.Name, func(t *testing.T) {
			r.processor.PlayWire(processor.SpoiledWire(answer, at, f))
			try(t, f.Name, expected{f.Right, f.Silent, false})
		})
	}
}

// eachConnection plays what is wrong before there is a stream.
func eachConnection(t *testing.T, r *rig, try func(t *testing.T, fault string, as expected)) {
	t.Helper()
	for _, f := range processor.Connections() {
		t.Run(f.Name, func(t *testing.T) {
			r.processor.PlayWire(f.Do)
			try(t, f.Name, expected{silent: f.Silent})
		})
	}
	t.Run(nobody, func(t *testing.T) {
		r.processor.Refuse()
		try(t, nobody, expected{})
	})
}

// However the stream of a decision ends or is spoiled, and whenever: no API is reached
// by a request that was not judged, and no agent waits longer than the time-out.
// proves: P-1
func TestNoSpoiledDecisionOpensAnAPI(t *testing.T) {
	saw := newTable("decisions", "when the stream opens", "in place of the answer", "behind the answer", "in place of the answer, without the guard")
	t.Run("faults", func(t *testing.T) {
		for i, at := range []processor.Moment{{Of: processor.Opening}, {Of: processor.RequestHead}, {Of: processor.RequestHead, After: true}} {
			t.Run(saw.columns[i], func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.processor.Play(processor.Honest(allow))
				for _, k := range []kind{plain, upload, upgrade} {
					if o := r.call(k); o.body != "ok" {
						t.Fatalf("%s: where nothing is spoiled: %+v", k, o)
					}
				}
				try := func(t *testing.T, fault string, as expected) {
					for _, k := range []kind{plain, upload, upgrade} {
						if as.silent && k != plain && !at.After {
							continue // a second each
						}
						saw.set(fault, saw.columns[i], r.mustFailClosed(t, r.call(k), at, as))
					}
				}
				eachFault(t, r, allow, at, try)
				if at.Of == processor.Opening {
					eachConnection(t, r, try)
				}
			})
		}
		t.Run(saw.columns[3], func(t *testing.T) {
			t.Parallel()
			r := newRigOf(t, withoutGuard)
			eachFault(t, r, allow, processor.Moment{Of: processor.RequestHead}, func(t *testing.T, fault string, as expected) {
				o := r.call(plain)
				if slices.ContainsFunc(o.seen, func(s seen) bool { return s.header.Get("Authorization") == "Bearer "+r.token }) {
					saw.set(fault, saw.columns[3], open)
					return
				}
				if len(o.seen) > 0 { // with whatever the answer made of it
					saw.set(fault, saw.columns[3], "goes on")
					return
				}
				saw.set(fault, saw.columns[3], r.mustFailClosed(t, o, processor.Moment{Of: processor.RequestHead}, as))
			})
			if saw.cells["a clean end"][saw.columns[3]] != open {
				t.Error("a stream that ends cleanly lets nothing through without the guard: this Envoy is another one than the guard was made for")
			}
		})
	})
	if !t.Failed() {
		saw.mustBeDocumented(t)
	}
}

// mustFailClosed holds the outcome of a spoiled decision against what must be, and
// says it in the table's words.
func (r *rig) mustFailClosed(t *testing.T, o outcome, at processor.Moment, as expected) string {
	t.Helper()
	r.mustBeJudged(t, o, as.right || at.After)
	if o.took > timeout+slack {
		t.Errorf("it took %v", o.took)
	}
	switch {
	case at.After:
		// The answer counts, or what comes behind it.
		return goesOn
	case as.right:
		if o.body != "ok" || len(o.seen) != 1 {
			t.Errorf("the right answer is not heard: %+v", o)
		}
		return goesOn
	case as.spoken:
		return spoken
	case as.silent:
		if o.took < timeout/2 {
			t.Errorf("Envoy waited %v only", o.took)
		}
		mustSayWhy(t, o)
		return timedOut
	}
	mustSayWhy(t, o)
	return refused
}

// mustSayWhy wants a refusal in the form of all refusals.
func mustSayWhy(t *testing.T, o outcome) {
	t.Helper()
	var e struct {
		Code    ath.Code
		Message string
	}
	if o.status != 503 {
		t.Errorf("status %d: %s", o.status, o.body)
	}
	if err := json.Unmarshal([]byte(o.body), &e); err != nil || e.Code != ath.InternalError || e.Message == "" {
		t.Errorf("E-1: body %q (%v)", o.body, err)
	}
	if o.header.Get("Content-Type") != "application/json" || o.header.Get("Retry-After") == "" {
		t.Errorf("its head is %v", o.header)
	}
}

// withoutGuard takes the guard out of the chain.
func withoutGuard(m *hcmv3.HttpConnectionManager) {
	m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		return f.GetTypedConfig().MessageIs(&rbacv3.RBAC{})
	})
}
