package refresh

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// A moment is what came of one request.
type moment struct {
	at     time.Time // when it was asked
	user   *user
	by     *member
	status int  // 0: no answer
	retry  bool // it has Retry-After
	err    error
}

// ask asks one athd about a call, as Envoy does.
func (m *member) ask(u *user) moment {
	out := moment{at: time.Now(), user: u, by: m}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // the machine may be busy
	defer cancel()
	headers := &corev3.HeaderMap{}
	for name, value := range map[string]string{
		":authority": "127.0.0.1:8080", ":path": "/ath/proxy/shop/products/7", ":method": "GET", ":scheme": "http",
		"authorization": "Bearer " + u.token.Secret().Reveal(), "x-ath-agent-id": agentID,
	} {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	var r *authv3.CheckResponse
	r, out.err = m.checks.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/ath/proxy/shop/products/7", Host: "127.0.0.1:8080", Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: headers,
		}},
		ContextExtensions: map[string]string{"ath_provider": "shop", "ath_mount": "/ath/proxy/shop/"},
	}})
	switch denied := r.GetDeniedResponse(); {
	case out.err != nil:
	case denied == nil && r.GetOkResponse() != nil:
		out.status = http.StatusOK
	default:
		out.status = int(denied.GetStatus().GetCode())
		for _, h := range denied.GetHeaders() {
			out.retry = out.retry || strings.EqualFold(h.GetHeader().GetKey(), "Retry-After")
		}
	}
	return out
}

// A load asks every athd about every user, again and again.
type load struct {
	mu      sync.Mutex
	moments []moment
	stop    atomic.Bool
	all     sync.WaitGroup
}

func (c *crew) load(users []*user) *load {
	l := &load{}
	for _, m := range c.athd {
		for _, u := range users {
			l.all.Go(func() {
				for !l.stop.Load() {
					seen := m.ask(u)
					l.mu.Lock()
					l.moments = append(l.moments, seen)
					l.mu.Unlock()
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
	}
	c.t.Cleanup(func() { l.end() })
	return l
}

// end returns all that was seen.
func (l *load) end() []moment {
	l.stop.Store(true)
	l.all.Wait()
	return l.moments
}

// count counts the moments that f wants.
func count(all []moment, f func(moment) bool) (n int) {
	for _, m := range all {
		if f(m) {
			n++
		}
	}
	return n
}
