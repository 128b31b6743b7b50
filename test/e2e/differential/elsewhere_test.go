package differential

import (
	"testing"
)

// What leads a request to another host, path or protocol in some proxy or other, leads
// it nowhere here: least of all on the route whose destination athd's answer says.
//
// proves: P-3, P-5
func TestNoHeaderSendsARequestElsewhere(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		"X-ATH-Upstream", "X-ATH-Host", "x_ath_upstream", "X-Envoy-Original-Dst-Host", "X-Envoy-Original-Path", "X-Envoy-Upstream-Host",
		"X-Envoy-Decorator-Operation", "X-Envoy-IP-Tags", "X-Envoy-Force-Trace", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
		"X-Forwarded-Server", "X-Host", "X-Http-Host-Override", "X-Proxy-Host", "X-Rewrite-Host", "Forwarded", "Destination", "X-Athd-Upstream", "Athd.upstream",
	} {
		for _, value := range []string{"http", w.companion.addr, "host=evil.example", "/ath/token"} {
			for _, to := range []string{"plain", "wide", "app"} {
				d := pick(doors, func(one door) string { return one.provider }, to)
				try := try{
					door: d, method: "GET", target: d.prefix + "a",
					headers: append(agents("Bearer "+w.tokens[to].Secret().Reveal()), header{name, value}),
				}
				for _, f := range w.fronts {
					for protocol := range f.clients {
						o := w.send(f, protocol, try)
						for _, fault := range w.differences(f, o) {
							t.Errorf("%s: %s: %s to %s: %s", f.name, name, value, to, fault)
						}
						arrived := o.status == "200" && len(o.arrived) == 1 && o.arrived[0].target == d.base+"a"
						if refused := (o.status == "400" || o.status == "reset") && len(o.arrived) == 0; !arrived && !refused || len(o.companion) > 0 {
							t.Errorf("%s: %s: %s to %s: status %s, %s", f.name, name, value, to, o.status, saw(o))
						}
					}
				}
			}
		}
	}
}
