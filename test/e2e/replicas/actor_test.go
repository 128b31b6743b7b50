package replicas

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/identity"
)

const callbackURI = "https://agent.example/done"

// An actor is an agent that can be in many places at once.
type actor struct {
	*client.Identity
	clientID, secret string
}

// newActor publishes the identity of a new agent.
func (p *pair) newActor() *actor {
	path := "/" + rand.Text() + ".json"
	a, _ := identity.New(p.t, p.sites+path, "Agent")
	p.site.Handle(path, a)
	return &actor{Identity: a}
}

func (p *pair) attest(a *actor, endpoint string) string {
	signed, err := a.Attest(p.public+endpoint, time.Now())
	if err != nil {
		p.t.Error(err)
	}
	return signed.Reveal()
}

// A reply is what came back; status 0 if nothing did.
type reply struct {
	status int
	code   string         // of a refusal (E-1)
	body   map[string]any // of JSON
	header http.Header
	took   time.Duration
	err    error
}

func (r reply) text(field string) string { s, _ := r.body[field].(string); return s }

func (p *pair) send(ctx context.Context, method, to string, body any, header http.Header) reply {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return reply{err: err}
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, to, in)
	if err != nil {
		return reply{err: err}
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Accept", "application/json")
	start := time.Now()
	resp, err := p.Client.Do(req)
	if err != nil {
		return reply{err: err, took: time.Since(start)}
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	r.took = time.Since(start)
	if err != nil {
		return reply{err: err, took: r.took}
	}
	if json.Unmarshal(b, &r.body) == nil {
		r.code = r.text("code")
	}
	return r
}

func (p *pair) register(ctx context.Context, base string, a *actor, attestation string) reply {
	return p.send(ctx, "POST", base+"/ath/agents/register", map[string]any{
		"agent_id": a.ID(), "agent_attestation": attestation, "developer": a.Developer,
		"requested_providers": []any{map[string]any{"provider_id": "shop", "scopes": []string{"products:read"}}},
		"redirect_uris":       []string{callbackURI},
	}, nil)
}

func (p *pair) authorize(ctx context.Context, base string, a *actor, attestation string) reply {
	return p.send(ctx, "POST", base+"/ath/authorize", map[string]any{
		"client_id": a.clientID, "agent_attestation": attestation, "provider_id": "shop",
		"scopes": []string{"products:read"}, "state": "agent-state", "user_redirect_uri": callbackURI,
	}, nil)
}

// callback plays the browser on its way back from the provider.
func (p *pair) callback(ctx context.Context, base string, query url.Values) reply {
	return p.send(ctx, "GET", base+"/ath/callback?"+query.Encode(), nil, nil)
}

func (p *pair) token(ctx context.Context, base string, a *actor, attestation, session, code string) reply {
	return p.send(ctx, "POST", base+"/ath/token", map[string]any{
		"grant_type": "authorization_code", "client_id": a.clientID, "client_secret": a.secret,
		"agent_attestation": attestation, "ath_session_id": session, "code": code,
	}, nil)
}

func (p *pair) revoke(ctx context.Context, base string, a *actor, token string) reply {
	return p.send(ctx, "POST", base+"/ath/revoke", map[string]any{
		"client_id": a.clientID, "client_secret": a.secret, "token": token,
	}, nil)
}

// call goes through Envoy, which asks one of the two athd.
func (p *pair) call(ctx context.Context, a *actor, token string) reply {
	return p.send(ctx, "GET", p.public+"/api/products", nil, http.Header{
		"Authorization": {"Bearer " + token}, "X-Ath-Agent-Id": {a.ID()},
	})
}

// registered returns an agent that is registered.
func (p *pair) registered(ctx context.Context, base string) (*actor, reply) {
	a := p.newActor()
	r := p.register(ctx, base, a, p.attest(a, ""))
	if r.status == http.StatusCreated {
		a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
	}
	return a, r
}

// stateOf reads our state from an authorization_url.
func stateOf(r reply) string {
	u, err := url.Parse(r.text("authorization_url"))
	if err != nil {
		return ""
	}
	return u.Query().Get("state")
}

// codeOf reads our one-time code from the redirect to the agent (C-6).
func codeOf(r reply) string {
	u, err := url.Parse(r.header.Get("Location"))
	if r.status != http.StatusFound || err != nil {
		return ""
	}
	return u.Query().Get("code")
}
