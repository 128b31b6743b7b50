package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/identity"
)

// A worker is an agent with one user's consent.
type worker struct {
	d    *days
	id   *client.Identity
	c    *client.Client
	user string

	token, renewal string
	expires        time.Time // of the token
	logins         int       // how often the user had to come
	renewals       int
}

// An answer is what came back.
type answer struct {
	status      int
	code, cause string // of a refusal (E-1), and details.reason
	api.TokenReply
}

// newWorker registers an agent.
func (d *days) newWorker(name, user string) *worker {
	d.t.Helper()
	id, _ := identity.New(d.t, d.site.URL+"/"+name+".json", name)
	d.documents.Handle("/"+name+".json", id)
	c, err := client.New(client.Config{Server: d.public, Agent: id, Now: d.now, InsecureHTTP: true})
	if err != nil {
		d.t.Fatal(err)
	}
	w := &worker{d: d, id: id, c: c, user: user}
	if _, err := c.Register(d.t.Context(), client.Registration{Provider: "shop", Scopes: []string{"products:read"}, Purpose: "watches prices"}); err != nil {
		d.t.Fatal(err)
	}
	return w
}

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// login takes the user through the pages, and changes the code.
func (w *worker) login() {
	w.d.t.Helper()
	t := w.d.t
	w.logins++
	auth, err := w.c.Authorize(t.Context(), client.Consent{Provider: "shop", Scopes: []string{"products:read"}})
	if err != nil {
		t.Fatal(err)
	}
	w.d.provider.mu.Lock()
	w.d.provider.user = w.user
	w.d.provider.mu.Unlock()
	b := browser.New()
	defer b.Close()
	page, err := b.Get(t.Context(), auth.URL)
	if err == nil {
		page, err = b.Submit(t.Context(), page.Form().Click("Allow"))
	}
	if err != nil {
		t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	code := ath.NewSecret(athCode.FindString(page.Body))
	if code.IsZero() {
		t.Fatalf("the last page (%d) shows no code: %s\n%v", page.Status, page.Text, b.Steps())
	}
	a := w.ask(api.TokenRequest{GrantType: api.GrantAuthorizationCode, Code: api.OpenSecret(code), Session: api.OpenSecret(auth.Session)})
	if a.status != http.StatusOK || a.RefreshToken.IsZero() {
		t.Fatalf("the first token: %d %s; a renewal came: %v", a.status, a.code, !a.RefreshToken.IsZero())
	}
	w.took(a)
	w.renewal = a.RefreshToken.Reveal()
}

// ask asks for a token, with a fresh attestation.
func (w *worker) ask(r api.TokenRequest) answer {
	w.d.t.Helper()
	attestation, err := w.id.Attest(w.d.public+ath.TokenPath, w.d.now())
	if err != nil {
		w.d.t.Fatal(err)
	}
	own := w.c.Credentials()
	r.ClientID, r.ClientSecret, r.Attestation = own.ClientID, api.OpenSecret(own.Secret), api.OpenSecret(attestation)
	return w.d.post(ath.TokenPath, r, nil)
}

func (w *worker) took(a answer) {
	w.token, w.expires = a.AccessToken.Reveal(), w.d.now().Add(time.Duration(a.ExpiresIn)*time.Second)
}

// renew gets a token without the user (T-8).
func (w *worker) renew() answer {
	w.d.t.Helper()
	a := w.ask(api.TokenRequest{GrantType: api.GrantRefreshToken, RefreshToken: api.OpenSecret(ath.NewSecret(w.renewal))})
	if a.status == http.StatusOK {
		w.took(a)
		w.renewals++
	}
	return a
}

// call is one call of the API through Envoy's question: it passes where athd lets it
// and the API takes the token that athd put in.
func (w *worker) call() answer {
	w.d.t.Helper()
	headers := &corev3.HeaderMap{}
	for name, value := range map[string]string{
		":authority": "gateway", ":path": "/ath/proxy/shop/products/7", ":method": "GET", ":scheme": "http",
		"authorization": "Bearer " + w.token, "x-ath-agent-id": w.id.ID(),
	} {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	r, err := w.d.checks.Check(w.d.t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/ath/proxy/shop/products/7", Host: "gateway", Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: headers,
		}},
		ContextExtensions: map[string]string{"ath_provider": "shop", "ath_mount": "/ath/proxy/shop/"},
	}})
	if err != nil {
		w.d.t.Fatal(err)
	}
	if denied := r.GetDeniedResponse(); denied != nil {
		return answerOf(int(denied.GetStatus().GetCode()), []byte(denied.GetBody()))
	}
	for _, h := range r.GetOkResponse().GetHeaders() {
		if upstream, is := strings.CutPrefix(headerText(h.GetHeader()), "Bearer "); is && strings.EqualFold(h.GetHeader().GetKey(), "authorization") && w.d.provider.takes(upstream) {
			return answer{status: http.StatusOK}
		}
	}
	return answer{status: http.StatusUnauthorized, code: "the API's own"}
}

func headerText(h *corev3.HeaderValue) string {
	if len(h.GetRawValue()) > 0 {
		return string(h.GetRawValue())
	}
	return h.GetValue()
}

// work renews where the token has expired, and calls.
func (w *worker) work() answer {
	w.d.t.Helper()
	if !w.d.now().Before(w.expires) {
		if a := w.renew(); a.status != http.StatusOK {
			return a
		}
	}
	return w.call()
}

func (d *days) post(path string, body any, header http.Header) answer {
	d.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.public+path, bytes.NewReader(text))
	if err != nil {
		d.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	r.Header.Set("Content-Type", "application/json")
	reply, err := d.http.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer reply.Body.Close()
	got, err := io.ReadAll(reply.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answerOf(reply.StatusCode, got)
}

func answerOf(status int, body []byte) answer {
	a := answer{status: status}
	var refusal struct {
		Code    string
		Details struct{ Reason string }
	}
	if json.Unmarshal(body, &refusal) == nil {
		a.code, a.cause = refusal.Code, refusal.Details.Reason
	}
	_ = json.Unmarshal(body, &a.TokenReply) // a refusal is none
	return a
}
