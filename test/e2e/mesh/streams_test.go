package mesh

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/tree"
)

// watched is an Envoy of a control plane with what deploy's files add for streams under
// watch, by hand.
func watched(config func(*testing.T, string, []byte) []byte) func(*testing.T, string, []byte) []byte {
	return func(t *testing.T, listen string, clusters []byte) []byte {
		t.Helper()
		whole := tree.Load(t, config(t, listen, clusters))
		manager := at(whole, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(object)
		manager["delayed_close_timeout"] = "0s"
		chain := listOf(manager["http_filters"])
		manager["http_filters"] = slices.Insert(chain, len(chain)-1, any(watchFilter(t, "envoy-gateway/streams/watch.yaml", "spec", "jsonPatches", 2, "operation", "value")))
		return dump(t, whole)
	}
}

// watchFilter is the filter that a file of deploy has at a place of its last document.
func watchFilter(t *testing.T, file string, place ...any) object {
	t.Helper()
	all := documents(t, "../../../deploy/"+file)
	filter, _ := at(all[len(all)-1], place...).(object)
	if filter["name"] != "athd.watch" {
		t.Fatalf("deploy/%s has no filter athd.watch at %v", file, place)
	}
	return filter
}

func TestStreamsEndInAMesh(t *testing.T) {
	for _, m := range []mesh{
		{name: "Istio", config: watched(istioAsWeWant().config)},
		{name: "Envoy Gateway", config: watched(gateway("encode_raw_headers: true", true, guardFilters))},
		{name: "Envoy Gateway by ext_proc", judges: true, config: watched(judged)},
	} {
		t.Run(m.name, m.watches)
	}
}

// watches opens streams of two agents, and ends what one of them may, and then athd.
func (m mesh) watches(t *testing.T) {
	s := m.startWith(t, stage.Options{EnvoyMore: "streams: watched"})
	m.streams = true
	for _, f := range m.verified(t, s).Findings {
		if f.Severity == verify.Fault {
			t.Errorf("verify-envoy: %s: %s: %s", f.Where, f.What, f.Remedy)
		}
	}
	a, b := s.NewAgent("a"), s.NewAgent("b")
	shop, gallery := s.Token(a, stage.App, "products:read"), s.Token(b, stage.Provider, "pictures:read")
	first := openStream(t, s, "/api/products/stream", shop)
	second := openStream(t, s, "/ath/proxy/gallery/pictures/stream", gallery)

	if err := a.Revoke(t.Context(), shop.Access); err != nil {
		t.Fatal(err)
	}
	first.ends(t)
	if r := send(t, s, "GET /api/products/stream", call(shop)...); r.status != http.StatusUnauthorized || r.code != "TOKEN_REVOKED" {
		t.Errorf("who comes back is told %d %s", r.status, r.body)
	}
	second.goesOn(t)
	s.Athd.Kill()
	second.ends(t)
}

// A stream is a reply that goes on.
type stream struct{ lines chan string }

func openStream(t *testing.T, s *stage.Stage, path string, token client.Token) stream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Public+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range call(token) {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d", path, resp.StatusCode)
	}
	o := stream{make(chan string)}
	go func() {
		defer close(o.lines)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			select {
			case o.lines <- lines.Text():
			case <-t.Context().Done():
				return
			}
		}
	}()
	o.goesOn(t)
	return o
}

// goesOn wants another event, and none that has waited to be read: there is one each
// 50 ms.
func (o stream) goesOn(t *testing.T) {
	t.Helper()
	for deadline := time.After(patience); ; {
		began := time.Now()
		select {
		case line, open := <-o.lines:
			if !open {
				t.Fatal("the stream has ended")
			}
			if strings.HasPrefix(line, "data: ") && time.Since(began) > 10*time.Millisecond {
				return
			}
		case <-deadline:
			t.Fatal("the stream says nothing")
		}
	}
}

// ends wants no more of it.
func (o stream) ends(t *testing.T) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case _, open := <-o.lines:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the stream goes on")
		}
	}
}
