package traps

import (
	"net/netip"
	"net/url"
	"slices"
	"testing"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/provider"
)

// A rigOf starts a rig.
type rigOf func(t *testing.T, change ...func(*rig, *bootstrap.Config)) *rig

// runtimeProviders are those that are not in Envoy's configuration, by what the
// route that they have in common may do. Where it may speak http, it speaks HTTP/1.1.
var runtimeProviders = map[string][]string{"http": {"plain", "down"}, "https": {"tls", "named", "wrong"}}

// onEachRoute runs a test where providers have routes of their own, and where some
// came while athd runs, judged by ext_authz and by ext_proc: what holds of one holds of
// the others.
func onEachRoute(t *testing.T, test func(*testing.T, rigOf)) {
	t.Run("routes of their own", func(t *testing.T) { test(t, newRig) })
	t.Run("routes of their own, by ext_proc", func(t *testing.T) { test(t, with(byExtProc)) })
	for name, ids := range runtimeProviders {
		become := func(r *rig, c *bootstrap.Config) { r.becomeRuntime(c, ids, name == "http") }
		t.Run("run-time providers by "+name, func(t *testing.T) { test(t, with(become)) })
		t.Run("run-time providers by "+name+", by ext_proc", func(t *testing.T) { test(t, with(byExtProc, become)) })
	}
}

func byExtProc(_ *rig, c *bootstrap.Config) { c.ByExtProc = true }

// with is newRig with changes of its own behind those of the test.
func with(own ...func(*rig, *bootstrap.Config)) rigOf {
	return func(t *testing.T, change ...func(*rig, *bootstrap.Config)) *rig {
		return newRig(t, append(slices.Clone(change), own...)...)
	}
}

// becomeRuntime takes providers out of Envoy's configuration, and lets it connect to
// where they are.
func (r *rig) becomeRuntime(c *bootstrap.Config, ids []string, http bool) {
	r.t.Helper()
	var left []*provider.Provider
	for _, p := range r.set.All() {
		if !slices.Contains(ids, p.ID) {
			left = append(left, p)
			continue
		}
		p.Runtime = true
		c.Egress.Allow = append(c.Egress.Allow, r.exception(p.APIBase, http))
	}
	var err error
	if c.Providers, err = provider.NewSet(left...); err != nil {
		r.t.Fatal(err)
	}
	c.RuntimeProviders = true
}

func (r *rig) exception(u *url.URL, http bool) egress.Exception {
	r.t.Helper()
	at, err := netip.ParseAddrPort("127.0.0.1:" + u.Port())
	if err != nil {
		r.t.Fatal(err)
	}
	return egress.Exception{Addresses: netip.PrefixFrom(at.Addr(), 32), Port: at.Port(), HTTP: http}
}
