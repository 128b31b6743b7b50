package watched

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/test/harness/processor"
	"github.com/athd/athd/test/harness/streams"
)

// Envoy tells athd of each long exchange by one stream, from the first head by which it
// can be told, and what its decision said.
// proves: V-4
func TestAthdHearsOfEachLongExchangeOnce(t *testing.T) {
	r := newRig(t)
	for _, k := range streams.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			s := r.open(t, k)
			want := processor.ReplyHead
			if k.Late || strings.HasPrefix(k.Name, "gRPC") || k.Path == streams.SocketPath {
				want = processor.RequestHead
			}
			all := r.take(1)
			if len(all) != 1 || !slices.Equal(all[0].heard, []processor.Part{want}) {
				t.Fatalf("athd heard %v in %d streams, want %q", all[0].heard, len(all), want)
			}
			if want := map[string]string{envoy.MetaAllow: "", envoy.MetaHeld: "what is held", envoy.MetaDecision: "dec_watched", envoy.MetaProvider: all[0].said[envoy.MetaProvider]}; !maps.Equal(all[0].said, want) {
				t.Errorf("athd is told %v", all[0].said)
			}
			s.Close()
		})
	}
}

// Of what is over at once athd does not hear again, and not at all of people's
// exchanges.
func TestAthdDoesNotHearOfOthers(t *testing.T) {
	r := newRig(t)
	for range 3 {
		for _, call := range []func() (int, string){
			func() (int, string) { return r.short("GET", streams.ShortPath, nil, 0) },
			func() (int, string) {
				return r.short("POST", streams.ShortPath, strings.NewReader(strings.Repeat("x", 99999)), 99999)
			},
			func() (int, string) { return r.short("DELETE", streams.ShortPath, nil, 0) },
		} {
			if status, _ := call(); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
		}
	}
	if r.decided != 9 || len(r.take(0)) != 0 {
		t.Errorf("%d decisions, and athd heard of more", r.decided)
	}
	if status, _ := r.short("POST", streams.ShortPath, strings.NewReader(strings.Repeat("x", 100000)), 100000); status != http.StatusOK || len(r.take(1)) != 1 {
		t.Errorf("a long upload: %d", status)
	}
	r.mu.Lock()
	r.unheld = true
	r.mu.Unlock()
	for _, k := range streams.Kinds() {
		r.open(t, k).Close()
	}
	if n := len(r.take(0)); n > 0 {
		t.Errorf("athd heard of %d exchanges that hold nothing", n)
	}
}

// Over HTTP/2 no head says that a body follows: unless a length is said, the method
// tells, and whatever has another name than those that carry none is an upload.
// proves: V-4
func TestAthdHearsOfUploadsByMethodsOfAnyName(t *testing.T) {
	r := newRig(t)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	for _, tt := range []struct {
		method string
		body   io.Reader
		length int64
		heard  int
	}{
		{method: "GET"}, {method: "HEAD"}, {method: "DELETE"}, {method: "OPTIONS"}, {method: "TRACE"},
		{"POST", strings.NewReader("abc"), 3, 0}, {"REPORT", strings.NewReader("abc"), 3, 0}, {"QUERY", strings.NewReader("abc"), 3, 0},
		{"POST", strings.NewReader("abc"), -1, 1}, {"PATCH", strings.NewReader("abc"), -1, 1},
		{"REPORT", strings.NewReader("abc"), -1, 1}, {"QUERY", strings.NewReader("abc"), -1, 1}, {"GETS", strings.NewReader("abc"), -1, 1},
	} {
		status, _ := r.shortBy(&http.Client{Transport: transport}, tt.method, streams.ShortPath, tt.body, tt.length)
		if status != http.StatusOK {
			t.Errorf("%s: %d", tt.method, status)
			continue
		}
		all := r.take(tt.heard)
		if len(all) != tt.heard || tt.heard == 1 && all[0].heard[0] != processor.RequestHead {
			t.Errorf("%s with a length of %d: athd heard of %d", tt.method, tt.length, len(all))
		}
	}
}
