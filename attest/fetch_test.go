package attest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/attest"
)

// answer makes the host answer with this in place of the document.
func (h *agentHost) answer(serve http.HandlerFunc) {
	if serve == nil {
		h.serve.Store(nil)
		return
	}
	h.serve.Store(&serve)
}

// F-10
func TestDocumentThatIsCompressedUnasked(t *testing.T) {
	h := newAgentHost(t, nil)
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Values("Accept-Encoding"); len(got) != 1 || got[0] != "identity" {
			t.Errorf("asked for %q", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(h.document())
		z.Close()
	})
	if identity, err := h.verify(h.attestation(h.key, nil)); err != nil || identity == nil {
		t.Errorf("got %v, %v", identity, err)
	}
}

func TestHostileHosts(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(h *agentHost) http.HandlerFunc{
		"404": func(*agentHost) http.HandlerFunc { return http.NotFound },
		"201": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.Write(h.document()) }
		},
		"a redirect, even to itself": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/else" {
					t.Error("a redirect was followed")
				}
				w.Header().Set("Location", "/else")
				w.WriteHeader(302)
				w.Write(h.document())
			}
		},
		"larger than 64 KiB": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Write(append(h.document(), strings.Repeat(" ", 64<<10)...))
			}
		},
		"endless": func(*agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 32<<10)); err != nil {
						return
					}
				}
			}
		},
		"gzip of more than was to be read": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				z.Write(bytes.Repeat([]byte(" "), 64<<10))
				z.Write(h.document())
				z.Close()
			}
		},
		"brotli that was not asked for": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "br")
				w.Write(h.document())
			}
		},
		"giant headers": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X", strings.Repeat("x", 64<<10))
				w.Write(h.document())
			}
		},
		"hangs up": func(*agentHost) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		},
		"cut off": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100000")
				w.Write(h.document())
			}
		},
		"another agent's document": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Write([]byte(strings.Replace(string(h.document()), "agent.json", "other.json", 1)))
			}
		},
		"slow": func(h *agentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Write([]byte("{"))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		},
	} {
		t.Run("A-7: "+name, func(t *testing.T) {
			t.Parallel()
			h := newAgentHost(t, nil)
			h.answer(serve(h))
			start := time.Now()
			identity, err := h.verify(h.attestation(h.key, nil))
			want := attest.Document
			if slices.Contains([]string{"hangs up", "cut off", "slow"}, name) {
				want = attest.Unreachable // nothing was read
			}
			if reasonOf(err) != want || identity != nil {
				t.Errorf("got %v, %v", identity, err)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("took %v", took)
			}
			if len(h.recorded("jti")) != 0 {
				t.Error("A-5: a jti was spent")
			}
		})
	}
}

// Only a host that was heard says something against an attestation.
// F-23
func TestHostsThatAreAway(t *testing.T) {
	for status, want := range map[int]attest.Reason{
		500: attest.Unreachable, 502: attest.Unreachable, 503: attest.Unreachable, 504: attest.Unreachable, 529: attest.Unreachable,
		429: attest.Unreachable, 408: attest.Unreachable, 425: attest.Unreachable,
		204: attest.Document, 206: attest.Document, 301: attest.Document, 304: attest.Document, 307: attest.Document, 400: attest.Document,
		401: attest.Document, 403: attest.Document, 404: attest.Document, 405: attest.Document, 410: attest.Document, 418: attest.Document, 451: attest.Document,
	} {
		h := newAgentHost(t, nil)
		h.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		compact := h.attestation(h.key, nil)
		if _, err := h.verify(compact); reasonOf(err) != want || len(h.recorded("jti")) != 0 {
			t.Errorf("%d: got %v, want %s", status, err, want)
		}
		// The same attestation counts when the host is back: its jti was not spent.
		h.answer(nil)
		h.pass(5 * time.Second)
		if _, err := h.verify(compact); err != nil {
			t.Errorf("%d: afterwards: %v", status, err)
		}
	}
	t.Run("a port that nobody listens on", func(t *testing.T) {
		h := newAgentHost(t, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.id = h.parseID("https://" + l.Addr().String() + "/agent.json")
		l.Close()
		if _, err := h.verify(h.attestation(h.key, nil)); reasonOf(err) != attest.Unreachable {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a port that does not speak TLS", func(t *testing.T) {
		h := newAgentHost(t, nil)
		plain := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(plain.Close)
		h.id = h.parseID(strings.Replace(plain.URL, "http:", "https:", 1) + "/agent.json")
		if _, err := h.verify(h.attestation(h.key, nil)); reasonOf(err) != attest.Document {
			t.Errorf("got %v", err)
		}
	})
	t.Run("whoever gives up waiting", func(t *testing.T) {
		h := newAgentHost(t, nil)
		h.answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := h.verifier.Verify(ctx, h.attestation(h.key, nil), attest.Expect{Agent: h.id, Audiences: []string{audience}})
		if reasonOf(err) != attest.Unreachable {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatIsConnectedTo(t *testing.T) {
	t.Run("A-7: a loopback address, and a name that leads to one, are refused", func(t *testing.T) {
		h := newAgentHost(t, func(c *attest.Config) { c.AllowPrivateHosts = false })
		for _, id := range []string{h.id.String(), strings.Replace(h.id.String(), "127.0.0.1", "localhost", 1)} {
			_, err := h.verifier.Verify(t.Context(), h.attestation(h.key, map[string]any{"iss": id, "sub": id}), attest.Expect{Agent: h.parseID(id), Audiences: []string{audience}})
			if reasonOf(err) != attest.Document || !strings.Contains(err.Error(), "address is not public") {
				t.Errorf("%s: got %v", id, err)
			}
		}
		if h.hits.Load() != 0 {
			t.Error("the host was asked")
		}
	})
	t.Run("A-7: a certificate for another name, or by nobody we know", func(t *testing.T) {
		h := newAgentHost(t, nil)
		id := h.parseID(strings.Replace(h.id.String(), "127.0.0.1", "localhost", 1))
		_, err := h.verifier.Verify(t.Context(), h.attestation(h.key, map[string]any{"iss": id.String(), "sub": id.String()}), attest.Expect{Agent: id, Audiences: []string{audience}})
		if reasonOf(err) != attest.Document || h.hits.Load() != 0 {
			t.Errorf("another name: got %v", err)
		}
		h = newAgentHost(t, func(c *attest.Config) { c.InsecureTestingOnlyRootCAs = nil })
		if _, err := h.verify(h.attestation(h.key, nil)); reasonOf(err) != attest.Document || h.hits.Load() != 0 {
			t.Errorf("unknown authority: got %v", err)
		}
	})
	t.Run("A-7: http only where development allows it", func(t *testing.T) {
		for _, allow := range []bool{false, true} {
			h := newAgentHost(t, func(c *attest.Config) { c.AllowHTTP = allow })
			plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(h.document()) }))
			t.Cleanup(plain.Close)
			h.id = h.parseID(plain.URL + "/agent.json")
			if _, err := h.verify(h.attestation(h.key, nil)); (err == nil) != allow || err != nil && reasonOf(err) != attest.Document {
				t.Errorf("allow %v: got %v", allow, err)
			}
		}
	})
	t.Run("A-7: the environment's proxy is not asked", func(t *testing.T) {
		proxy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		t.Setenv("HTTPS_PROXY", "http://"+proxy.Addr().String())
		t.Setenv("NO_PROXY", "")
		h := newAgentHost(t, nil)
		if _, err := h.verify(h.attestation(h.key, nil)); err != nil || h.hits.Load() != 1 {
			t.Errorf("got %v", err)
		}
	})
}

func TestIdentityDocumentsAreCachedBriefly(t *testing.T) {
	verify := func(h *agentHost, want attest.Reason, hits int32) {
		h.t.Helper()
		if _, err := h.verify(h.attestation(h.key, nil)); reasonOf(err) != want || h.hits.Load() != hits {
			h.t.Errorf("got %v after %d fetches, want %q after %d", err, h.hits.Load(), want, hits)
		}
	}
	t.Run("A-6: a document is kept for 5 minutes", func(t *testing.T) {
		h := newAgentHost(t, nil)
		verify(h, "", 1)
		h.pass(5*time.Minute - time.Second)
		verify(h, "", 1)
		h.pass(time.Second)
		verify(h, "", 2)
	})
	t.Run("A-6: or as long as it says, but 10 seconds at least", func(t *testing.T) {
		h := newAgentHost(t, nil)
		h.answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			w.Write(h.document())
		})
		verify(h, "", 1)
		h.pass(9 * time.Second)
		verify(h, "", 1)
		h.pass(time.Second)
		verify(h, "", 2)
	})
	t.Run("A-6: a failure is kept for 5 seconds", func(t *testing.T) {
		h := newAgentHost(t, nil)
		h.answer(http.NotFound)
		verify(h, attest.Document, 1)
		h.answer(nil)
		verify(h, attest.Document, 1)
		h.pass(5 * time.Second)
		verify(h, "", 2)
	})
	t.Run("A-6: that a host is away is kept for 2 seconds", func(t *testing.T) { // F-23
		h := newAgentHost(t, nil)
		h.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		verify(h, attest.Unreachable, 1)
		h.answer(nil)
		h.pass(attest.UnreachableFor - time.Millisecond)
		verify(h, attest.Unreachable, 1)
		h.pass(time.Millisecond)
		verify(h, "", 2)
	})
	t.Run("A-6: a document that is fresh stands while its host is away", func(t *testing.T) {
		h := newAgentHost(t, nil)
		verify(h, "", 1)
		h.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		verify(h, "", 1)
		h.pass(5 * time.Minute)
		verify(h, attest.Unreachable, 2)
	})
	t.Run("A-6: a new key is seen at once, but forgeries make us fetch once a minute on all replicas", func(t *testing.T) {
		h := newAgentHost(t, nil)
		verify(h, "", 1)
		h.key = newKey(t)
		h.publish(h.key)
		verify(h, "", 2)
		forged := func(v *attest.Verifier, hits int32) {
			t.Helper()
			_, err := v.Verify(t.Context(), h.attestation(newKey(t), nil), attest.Expect{Agent: h.id, Audiences: []string{audience}})
			if reasonOf(err) != attest.Signature || h.hits.Load() != hits {
				t.Errorf("got %v after %d fetches, want %d", err, h.hits.Load(), hits)
			}
		}
		forged(h.verifier, 2)
		if ttl := h.recorded("refetch"); len(ttl) != 1 || ttl[0] != time.Minute {
			t.Errorf("got %v", ttl)
		}
		other := h.replica()
		forged(other, 3) // its first, not past a cache
		forged(other, 3)
		h.forget()
		forged(h.verifier, 4)
		forged(other, 4)
	})
	t.Run("A-6: a fetch past the cache that fails takes nothing away", func(t *testing.T) {
		h := newAgentHost(t, nil)
		verify(h, "", 1)
		h.answer(http.NotFound)
		if _, err := h.verify(h.attestation(newKey(t), nil)); reasonOf(err) != attest.Signature || h.hits.Load() != 2 {
			t.Errorf("got %v", err)
		}
		verify(h, "", 2)
	})
	t.Run("A-6: the store is away when a fetch past the cache is to be recorded", func(t *testing.T) {
		h := newAgentHost(t, nil)
		verify(h, "", 1)
		h.onceErr = errors.New("away")
		if _, err := h.verify(h.attestation(newKey(t), nil)); !errors.Is(err, h.onceErr) || h.hits.Load() != 1 {
			t.Errorf("got %v", err)
		}
	})
}

// proves: A-6
func TestOneFetchInFlight(t *testing.T) {
	h := newAgentHost(t, nil)
	asked, release := make(chan struct{}, 64), make(chan struct{})
	h.answer(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		w.Write(h.document())
	})
	// The caller that starts the fetch goes away; the others must not notice.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := h.verifier.Verify(ctx, h.attestation(h.key, nil), attest.Expect{Agent: h.id, Audiences: []string{audience}})
		gone <- err
	}()
	<-asked
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("A-6: the caller whose context ended: got %v", err)
	}
	var wg sync.WaitGroup
	var good atomic.Int32
	for range 16 {
		wg.Go(func() {
			if _, err := h.verify(h.attestation(h.key, nil)); err == nil {
				good.Add(1)
			}
		})
	}
	close(release)
	wg.Wait()
	if good.Load() != 16 || h.hits.Load() != 1 {
		t.Errorf("A-6: %d of 16 were accepted after %d fetches", good.Load(), h.hits.Load())
	}
}
