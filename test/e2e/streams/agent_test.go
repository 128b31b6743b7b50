package streams

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/streams"
	"github.com/athd/athd/tokenstore"
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
	ctx, now := w.t.Context(), time.Now()
	host := strings.ToLower(rand.Text()) + ".example"
	h := &holder{host: host, agent: "https://" + host + "/agent.json", provider: provider, connection: ath.NewTag(), secret: string(ath.NewTag() + ath.NewTag())}
	h.client, h.user = ath.NewClientIDOf(ath.AgentTag(h.agent)).String(), "user-"+string(ath.NewTag())
	h.token, h.renewal = ath.NewToken(h.connection), ath.NewRenewalToken(h.connection)
	h.expires = now.Add(life)
	leak.Of(w.t).Secret("an agent's token", h.token.Secret().Reveal())
	scopes := ath.Scopes{"streams:read", "streams:write", "streams:other"}
	if inGateway(provider) {
		scopes = scopes[:2]
	}
	err := w.store.CreateAgent(ctx, tokenstore.Agent{
		ID: h.agent, ClientID: h.client, SecretDigest: ath.DigestOf(h.secret), Name: "An agent", Purpose: "Streams.",
		RedirectURIs: []string{"https://agents.example/callback"}, Developer: tokenstore.Developer{Name: "Agents Inc.", ID: "https://agents.example"},
		Approvals: []tokenstore.Approval{{Provider: provider, Approved: scopes}}, ApprovalExpires: now.Add(24 * time.Hour), Registered: now,
	})
	if err == nil {
		err = w.store.PutConnection(ctx, h.connection, tokenstore.Connection{
			Agent: h.agent, User: h.user, Provider: provider, Access: ath.NewSecret(userToken), Scopes: scopes, Created: now, Destination: w.destination(provider),
		}, now.Add(time.Hour))
	}
	if err == nil {
		err = w.store.PutRenewal(ctx, h.renewal, tokenstore.Renewal{
			Agent: h.agent, ClientID: h.client, User: h.user, Provider: provider, Scopes: scopes, Connection: h.connection,
			Terms: ath.RenewalTerms{Max: 48 * time.Hour, Idle: 24 * time.Hour}, Issued: now, Used: now,
		}, h.token, tokenstore.Grant{
			Agent: h.agent, ClientID: h.client, User: h.user, Provider: provider, Scopes: scopes, Connection: h.connection,
			Issued: now, Expires: h.expires, Renewal: h.renewal.Digest(),
		})
	}
	return h, err
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
