package streams

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/streams"
)

// A holder is an agent with one token, and what the token stands on.
type holder struct {
	host, agent, client, secret string
	user                        string
	token                       ath.Token
	renewal                     ath.RenewalToken
	connection                  ath.Tag
	provider                    string
	expires                     time.Time
}

// The providers of gateway mode: that of the file, and those of [world.addLate], whose
// names begin so.
const (
	gate = "gate"
	late = "late"
)

func inGateway(provider string) bool { return provider == gate || strings.HasPrefix(provider, late) }

// appOf is the app that an exchange of this kind goes to.
func appOf(k streams.Kind) string {
	if k.Host == streams.HostHTTP1 {
		return "one"
	}
	return "two"
}

// destination is where the user agreed that the token goes.
func (w *world) destination(provider string) string {
	at := "https://" + w.api.TLS
	if provider == "one" || provider == "two" {
		at = "http://" + w.api.Addr
	}
	return "https://login.example/token athd " + at
}

// hold stores what a handshake leaves behind: an agent of its own, a user's
// connection, a standing consent, and a token that lasts this long.
func (w *world) hold(provider string, life time.Duration) *holder {
	w.t.Helper()
	h, err := w.holds(provider, life)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) holds(provider string, life time.Duration) (*holder, error) {
	scopes := ath.Scopes{"streams:read", "streams:write", "streams:other"}
	if inGateway(provider) {
		scopes = scopes[:2]
	}
	host, secret := strings.ToLower(rand.Text())+".example", string(ath.NewTag()+ath.NewTag())
	of := stage.RegisteredAgent("https://"+host+"/agent.json", scopes, provider)
	of.SecretDigest = ath.DigestOf(secret)
	c := stage.NewConsent(of, provider, w.destination(provider))
	c.Grant.Expires = c.Grant.Issued.Add(life)
	c.Terms = ath.RenewalTerms{Max: 48 * time.Hour, Idle: 24 * time.Hour}
	err := w.store.CreateAgent(w.t.Context(), of)
	if err == nil {
		err = c.Put(w.t, w.store)
	}
	return &holder{
		host: host, agent: of.ID, client: of.ClientID, secret: secret, user: c.Grant.User, token: c.Token, renewal: c.Renewal,
		connection: c.Token.Tag(), provider: provider, expires: c.Grant.Expires,
	}, err
}

// through is the holder as a caller of the API, through an Envoy.
func (w *world) through(envoy int, h *holder) streams.Caller {
	c := streams.Caller{Envoy: w.At[envoy], Agent: h.agent, Token: h.token.Secret().Reveal()}
	if inGateway(h.provider) {
		c.Host, c.Prefix = w.Public, ath.ProxyPath+h.provider
	}
	return c
}

// start opens an exchange through an Envoy.
func (w *world) start(t testing.TB, k streams.Kind, envoy int, h *holder) *streams.Stream {
	t.Helper()
	s, err := k.Open(context.WithoutCancel(t.Context()), w.api, w.through(envoy, h))
	if err != nil {
		t.Fatalf("%s: %v", k.Name, err)
	}
	t.Cleanup(s.Close)
	return s
}

// addLate adds a provider while athd and Envoy run.
func (w *world) addLate(id string) {
	w.t.Helper()
	err := w.operate(0, http.MethodPost, ath.AdminProvidersPath, map[string]any{
		"provider_id": id, "display_name": "Added", "available_scopes": []string{"streams:read", "streams:write"}, "client_id": "athd", "client_secret": stage.Secret,
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token", "api_base_url": "https://" + w.api.TLS,
		"scope_rules": []any{
			map[string]any{"scope": "streams:read", "methods": []string{"GET"}, "paths": []string{"/**"}},
			map[string]any{"scope": "streams:write", "methods": []string{"POST"}, "paths": []string{"/**"}},
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// operate is a request of the operator's.
func (w *world) operate(at int, method, path string, body any) error {
	return stage.Done(w.Operate(at, method, path, body))
}

// revoke is the agent's own, of its token or its renewal token.
func (w *world) revoke(at int, h *holder, token ath.Secret) error {
	return stage.Done(w.Ask(at, http.MethodPost, ath.RevokePath, map[string]string{"client_id": h.client, "client_secret": h.secret, "token": token.Reveal()}))
}
