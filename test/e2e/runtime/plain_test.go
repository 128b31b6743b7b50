package runtime

import (
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy/bootstrap"
)

// The path that athd's reply sets is the API's own: as a path of this Envoy it would
// be the companion's, or the app's. No route is looked for again.
// proves: P-3, P-5
func TestAPathThatIsAnotherRoutesLeadsToTheAPI(t *testing.T) {
	for name, change := range map[string][]func(*rig, *bootstrap.Config){"by TLS": nil, "without TLS": {byHTTP}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change...)
			a, scheme := r.plainAPI(openIP), "http"
			if change == nil {
				a, scheme = r.tlsAPI(openIP, "api.tools.test", "localhost"), "https"
			}
			r.dns.Set("api.tools.test", openIP)
			r.dns.Set("localhost", openIP)
			for _, base := range []string{"", "/", "/ath/token", "/ath/token/", "/ath/admin/providers", "/ath/proxy/file", "/.well-known/ath.json", "/ath/callback", "/products", "/ath"} {
				r.add("tools", scheme+"://api.tools.test:"+a.port+base)
				for _, rest := range []string{"", "x", "ath/token", "ath/proxy/file/x"} {
					for _, http2 := range []bool{false, true} {
						before := len(a.seen())
						got := r.by(r.client(http2), "tools", rest)
						if got.status == 200 && len(a.seen()) != before+1 || got.status != 200 {
							t.Errorf("base %q, rest %q: %d %s", base, rest, got.status, got.body)
							continue
						}
						last := a.seen()[before]
						if want := strings.TrimRight(base, "/") + "/" + rest; last.RequestURI != want || last.Header.Get("Authorization") != "Bearer "+userToken {
							t.Errorf("base %q, rest %q: the API saw %s", base, rest, last.RequestURI)
						}
					}
				}
			}
			r.untouched()
		})
	}
}

// proves: O-1, A-7
func TestWithoutTLSOnlyWhereItIsSaidAndAllowed(t *testing.T) {
	r := newRig(t, byHTTP)
	plain, secure := r.plainAPI(openIP), r.tlsAPI(openIP, "api.tools.test")
	elsewhere := r.plainAPI(closedIP)
	r.dns.Set("api.tools.test", openIP)
	r.dns.Set("elsewhere.test", closedIP)
	r.add("plain", "http://api.tools.test:"+plain.port)
	r.add("secure", "https://api.tools.test:"+secure.port)
	r.add("crossed", "https://api.tools.test:"+plain.port)
	r.add("elsewhere", "http://elsewhere.test:"+elsewhere.port)
	byHeader := func(q *http.Request) {
		q.Header.Set("X-ATH-Upstream", "http")
		q.Header.Set("Athd.upstream", "http")
	}
	for range 3 { // each on connections of its own
		if got := r.get("plain", "x"); got.status != 200 || got.body != "HTTP/1.1 /x" {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := r.get("secure", "x", byHeader); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		seen := len(plain.seen())
		if got := r.get("crossed", "x", byHeader); got.status != 503 || len(plain.seen()) != seen {
			t.Errorf("https at a server without TLS: %d %s", got.status, got.body)
		}
		r.unreachable("elsewhere")
	}
	for _, q := range plain.seen() {
		if q.TLS != nil || q.Header.Get("Authorization") != "Bearer "+userToken || q.Host != "api.tools.test:"+plain.port {
			t.Errorf("the API saw host %q, Authorization %q", q.Host, q.Header.Get("Authorization"))
		}
	}
	if n := elsewhere.connections.Load(); n != 0 {
		t.Errorf("%d connections to a closed address", n)
	}
	// Where no http is allowed there is no way without TLS, whatever a reply says.
	strict := newRig(t)
	strict.dns.Set("api.tools.test", openIP)
	other := strict.plainAPI(openIP)
	strict.add("plain", "https://api.tools.test:"+other.port)
	strict.spoils(func(a *authv3.CheckResponse) {
		a.DynamicMetadata.Fields["ath_upstream"] = structpb.NewStringValue("http")
	})
	if got := strict.get("plain", "x"); got.status != 503 || len(other.seen()) != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
