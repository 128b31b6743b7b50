package watched

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/processor"
	"github.com/athd/athd/test/harness/streams"
)

// earlyAPI is an API that answers 413 before a request is complete, and goes.
func earlyAPI(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fine" {
			return
		}
		if strings.HasPrefix(r.URL.Path, "/switched") {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				conn.Close()
			}
			return
		}
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // else net/http reads the body first
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		if strings.HasPrefix(r.URL.Path, "/early/open") {
			w.(http.Flusher).Flush() // without a length
		}
		io.WriteString(w, "too large")
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// What athd does with a reply's head that it holds.
var answersToReply = map[string]func(*processor.Stream, *extprocv3.ProcessingRequest) error{
	"lets it go on": func(s *processor.Stream, q *extprocv3.ProcessingRequest) error { return s.Send(goOn(q)) },
	"refuses": func(s *processor.Stream, _ *extprocv3.ProcessingRequest) error {
		return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Body: []byte(`{"code":"TOKEN_REVOKED"}`),
		}}})
	},
	"fails": func(*processor.Stream, *extprocv3.ProcessingRequest) error {
		return status.Error(codes.Aborted, "ended")
	},
	"lets it go on, and ends it at once": func(s *processor.Stream, q *extprocv3.ProcessingRequest) error {
		if err := s.Send(goOn(q)); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "ended")
	},
}

// A holder is athd, which holds the heads of replies until it is told.
type holder struct {
	*rig
	mu      sync.Mutex
	held    chan struct{} // receives when a head is held
	release chan struct{}
	answer  func(*processor.Stream, *extprocv3.ProcessingRequest) error
}

func (h *holder) next(answer func(*processor.Stream, *extprocv3.ProcessingRequest) error) (held, release chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held, h.release, h.answer = make(chan struct{}, 8), make(chan struct{}), answer
	return h.held, h.release
}

func (h *holder) play(s *processor.Stream) error {
	if strings.Join(s.Metadata.Get(envoy.StreamRole), ",") == envoy.RoleJudge {
		return processor.Honest(h.allow)(s)
	}
	h.mu.Lock()
	held, release, answer := h.held, h.release, h.answer
	h.mu.Unlock()
	for {
		q, err := s.Recv()
		if err != nil {
			return nil //nolint:nilerr // Envoy has ended the stream
		}
		if processor.PartOf(q) != processor.ReplyHead {
			err = s.Send(goOn(q))
		} else {
			held <- struct{}{}
			select {
			case <-release:
			case <-s.Context().Done():
				return nil
			}
			err = answer(s, q)
		}
		if err != nil {
			return err
		}
	}
}

// An upload is a request that is not complete yet.
type upload struct {
	method string
	length int64 // -1: not said
	header http.Header
}

var socketHeader = http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
}

// begin sends the head and the first bytes. The rest is sent, and the reply told, later.
func (h *holder) begin(ctx context.Context, u upload, host, path string, two bool) (rest func(), reply <-chan *http.Response) {
	body, in := io.Pipe()
	method, from := u.method, io.Reader(body)
	if u.header != nil {
		from = nil
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://"+h.caller.Envoy+path, from)
	if err != nil {
		h.t.Fatal(err)
	}
	q.Host = host
	if from != nil {
		q.ContentLength = u.length
	}
	maps.Copy(q.Header, u.header)
	q.Header.Set("Authorization", "Bearer "+h.caller.Token)
	q.Header.Set("X-ATH-Agent-ID", h.caller.Agent)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!two)
	transport.Protocols.SetUnencryptedHTTP2(two)
	out := make(chan *http.Response, 1)
	go func() {
		defer transport.CloseIdleConnections()
		defer body.Close()
		defer close(out)
		if r, err := transport.RoundTrip(q); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			out <- r
		}
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) }) // RoundTrip waits for it
	go in.Write([]byte("first"))
	return func() {
		if u.length > 0 {
			in.Write(bytes.Repeat([]byte("x"), int(u.length)-len("first")))
		} else {
			in.Write([]byte("last"))
		}
		in.Close()
	}, out
}

// A reply that comes before the request is complete, and is held by athd or ended under
// way, in the chain of the listener: where a filter of a cluster does so Envoy 1.40
// crashes.
func TestEarlyRepliesLeaveEnvoyAlive(t *testing.T) {
	uploads := map[string]upload{
		"of a length":            {"PUT", 20, nil},
		"of unsaid length":       {"POST", -1, nil},
		"a large one":            {"PUT", 200000, nil},
		"a WebSocket that fails": {"GET", 0, socketHeader},
	}
	for name, change := range map[string]func(*bootstrap.Config){
		"watched":                   func(*bootstrap.Config) {},
		"watched, keep":             kept,
		"watched, replies checked":  func(c *bootstrap.Config) { c.ChecksReplies = true },
		"watched, keep and checked": func(c *bootstrap.Config) { c.ChecksReplies, c.KeepsStreams = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := earlyAPI(t)
			checked := false
			h := &holder{rig: newRig(t, change, func(c *bootstrap.Config) {
				checked = c.ChecksReplies
				c.Providers = envoyconfig.Set(t,
					envoyconfig.AppProvider(t, "one", "http://"+api, "", streams.HostHTTP1),
					envoyconfig.AppProvider(t, "two", "h2c://"+api, "", streams.HostHTTP2))
			})}
			h.processor.Play(h.play)
			holds := 0
			try := func(what string, u upload, host, path string, two bool, answer, client string) {
				held, release := h.next(answersToReply[answer])
				letGo := sync.OnceFunc(func() { close(release) })
				defer letGo()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				rest, reply := h.begin(ctx, u, host, path, two)
				var got *http.Response
				select {
				case <-held:
					holds++
				case got = <-reply: // athd does not hear of its head
				case <-ctx.Done():
					t.Fatalf("%s: nothing happens", what)
				}
				switch client {
				case "leaves":
					cancel()
				case "sends the rest at once":
					go rest()
				}
				letGo()
				if got == nil {
					got = <-reply
				}
				if client == "waits" {
					go rest()
				}
				if answer == "lets it go on" && client != "leaves" {
					want := http.StatusRequestEntityTooLarge
					if path == "/switched" {
						want = http.StatusSwitchingProtocols
						if checked {
							want = http.StatusServiceUnavailable // the API's connection had ended when athd answered
						}
					}
					// Over HTTP/1 what still comes of a body may meet the end of the connection, which
					// takes the reply along: the price of delayed_close_timeout: 0s.
					lost := got == nil && !two && client == "sends the rest at once"
					if !lost && (got == nil || got.StatusCode != want) {
						t.Errorf("%s: the agent got %+v, want %d", what, got, want)
					}
				}
				_, open := h.next(answersToReply["lets it go on"])
				close(open)
				if status, _ := h.short("GET", "/fine", nil, 0); status != http.StatusOK {
					t.Fatalf("%s: Envoy afterwards: %d", what, status)
				}
			}
			for kind, u := range uploads {
				for _, host := range []string{streams.HostHTTP1, streams.HostHTTP2} {
					for _, path := range []string{"/early/length", "/early/open"} {
						for _, two := range []bool{false, true} {
							if u.header != nil && (two || host == streams.HostHTTP2) {
								continue // WebSockets over HTTP/2 are another handshake
							}
							for answer := range answersToReply {
								for _, client := range []string{"waits", "sends the rest at once", "leaves"} {
									try(strings.Join([]string{kind, host, path, map[bool]string{true: "HTTP/2"}[two], answer, client}, ", "), u, host, path, two, answer, client)
								}
							}
						}
					}
				}
			}
			if holds == 0 {
				t.Error("athd held no head")
			}
			switched := upload{"GET", 0, socketHeader}
			for answer := range answersToReply {
				for _, client := range []string{"waits", "leaves"} {
					try("a WebSocket that the API ends, "+answer+", "+client, switched, streams.HostHTTP1, "/switched", false, answer, client)
				}
			}
		})
	}
}
