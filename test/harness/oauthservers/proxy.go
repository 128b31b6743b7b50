package oauthservers

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// maxReply is how much of a token reply the proxy reads.
const maxReply = 1 << 20

// A TokenCall is a form that was sent to the server with a grant_type.
type TokenCall struct {
	ClientID string
	Grant    string // grant_type
	Refresh  string // the refresh token that was sent
	Status   int
	Error    string // of the reply
	Got      Tokens
}

// A Proxy passes everything on as it is, and keeps what was asked of the token and
// revocation endpoints: so a test counts calls and reads tokens that only athd
// and the server know.
type Proxy struct {
	URL string

	shorten string // the client whose expires_in becomes told; "": nobody's
	told    int

	mu      sync.Mutex
	tokens  []TokenCall
	revoked []url.Values
	holds   map[string]chan struct{} // by the refresh token that waits for it
	arrived map[string]bool          // refresh tokens, but for those of the test itself
}

func newProxy(t testing.TB, address string) *Proxy {
	t.Helper()
	p := &Proxy{holds: map[string]chan struct{}{}, arrived: map[string]bool{}}
	to := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host // the server's own name, as its callers know it
		},
		ModifyResponse: p.seen,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(io.LimitReader(r.Body, maxReply))
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			form, _ := url.ParseQuery(string(body)) // of what is no form there is none
			if id, _, ok := r.BasicAuth(); ok {
				form.Set("client_id", id)
			}
			r = r.WithContext(withForm(r.Context(), form))
			refresh := form.Get("refresh_token")
			p.mu.Lock()
			hold := p.holds[refresh]
			if refresh != "" && r.Header.Get(directly) == "" {
				p.arrived[refresh] = true
			}
			p.mu.Unlock()
			if hold != nil {
				<-hold
			}
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.URL = srv.URL
	return p
}

// seen keeps a call and its reply.
func (p *Proxy) seen(res *http.Response) error {
	form := formOf(res.Request.Context())
	if form.Get("grant_type") == "" || res.Request.Header.Get(directly) != "" {
		if form.Get("token") != "" && res.Request.Header.Get(directly) == "" {
			p.mu.Lock()
			p.revoked = append(p.revoked, form)
			p.mu.Unlock()
		}
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return err
	}
	res.Body.Close()
	call := TokenCall{ClientID: form.Get("client_id"), Grant: form.Get("grant_type"), Refresh: form.Get("refresh_token"), Status: res.StatusCode}
	var said struct{ Error string }
	if json.Unmarshal(body, &said) == nil {
		call.Error = said.Error
	}
	if json.Unmarshal(body, &call.Got) != nil {
		call.Got = Tokens{}
	}
	if call.ClientID == p.shorten && res.StatusCode == http.StatusOK {
		var members map[string]any
		if json.Unmarshal(body, &members) == nil && members["expires_in"] != nil {
			members["expires_in"] = p.told
			if body, err = json.Marshal(members); err != nil {
				return err
			}
		}
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens = append(p.tokens, call)
	return nil
}

// TokenCalls returns what a client, but for the test itself, has asked of the token endpoint, oldest first.
func (p *Proxy) TokenCalls(client Client) []TokenCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []TokenCall
	for _, c := range p.tokens {
		if c.ClientID == client.ID {
			all = append(all, c)
		}
	}
	return all
}

// Revocations returns the forms that a client has sent to the revocation endpoint.
func (p *Proxy) Revocations(client Client) []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []url.Values
	for _, form := range p.revoked {
		if form.Get("client_id") == client.ID {
			all = append(all, form)
		}
	}
	return slices.Clone(all)
}

// HoldOf keeps a refresh token from arriving at the server, until release is
// called. It is in time where nobody has sent the token before.
func (p *Proxy) HoldOf(refresh string) (release func(), inTime bool) {
	hold := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds[refresh] = hold
	release = sync.OnceFunc(func() {
		p.mu.Lock()
		delete(p.holds, refresh)
		p.mu.Unlock()
		close(hold)
	})
	return release, !p.arrived[refresh]
}
