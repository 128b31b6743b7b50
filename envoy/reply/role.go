package reply

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
)

// What [Config].Observe is told of a reply.
const (
	Echoed  = "echoed"  // it had the user's token, which was taken out
	Limited = "limited" // it was the API's own 429
)

// Config configures a [Role].
type Config struct {
	Providers *provider.Providers // may be replaced at any time
	PublicURL string              // athd's own, without a slash at its end
	Audit     *audit.Log
	Logger    *slog.Logger
	Now       func() time.Time            // nil: time.Now
	Observe   func(provider, what string) // for metrics; may be nil. provider is a configured id or ""
}

// A Role reads the heads of replies.
type Role struct {
	Config
	told *ratelimit.Table[[2]string] // events of echoes, by provider and agent
}

// New returns a Role.
func New(c Config) (*Role, error) {
	switch {
	case c.Providers == nil:
		return nil, errors.New("envoy: Providers is required")
	case c.Audit == nil:
		return nil, errors.New("envoy: Audit is required")
	case c.Logger == nil:
		return nil, errors.New("envoy: Logger is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(string, string) {}
	}
	return &Role{c, ratelimit.NewTable[[2]string](ratelimit.Rate{N: 1, Per: time.Minute}, ratelimit.ForgetOldest)}, nil
}

// Open is of [exchange.Role].
func (r *Role) Open(*exchange.Stream) exchange.Hearing { return hearing{r} }

type hearing struct{ *Role }

// Close is of [exchange.Hearing].
func (hearing) Close() {}

var (
	errUndecided = errors.New("no decision is known of the exchange: is the filter behind the check, and does it forward " + envoy.MetaNamespace + "?")
	errUnknown   = errors.New("an agent's exchange, and the decision does not say what the request held")
)

// Hear is of [exchange.Hearing].
func (h hearing) Hear(ctx context.Context, m *exchange.Message) (exchange.Reply, error) {
	held, ofAgent, err := heldOf(m.Metadata)
	switch {
	case err != nil:
		return exchange.Reply{}, err
	case !ofAgent || m.Phase == exchange.RequestHeaders: // beside other roles on one stream
		return exchange.Reply{}, nil
	}
	tokens := []canary.Canary{held.Canary()}
	if m.Sent != "" {
		second, err := canary.Parse(m.Sent)
		if err != nil {
			return exchange.Reply{}, errUnknown
		}
		tokens = append(tokens, second)
	}
	p := h.Providers.Current().Get(held.Provider)
	id := ""
	if p != nil {
		id = p.ID
	}
	if status, _ := m.Value(":status"); m.Phase == exchange.ResponseHeaders && status == "429" {
		h.Observe(id, Limited)
	}
	var out exchange.Reply
	echoed := echoes(tokens, m.Headers)
	if len(echoed) > 0 {
		h.Observe(id, Echoed)
		h.tell(ctx, m, &held, id, echoed)
		if slices.ContainsFunc(echoed, framing) {
			return exchange.Reply{Refusal: refusal(m.Metadata[envoy.MetaDecision])}, nil
		}
		out.Remove = echoed
	}
	if _, times := m.Value(envoy.HeaderSetCookie); times > 0 && !slices.Contains(out.Remove, envoy.HeaderSetCookie) {
		out.Remove = append(out.Remove, envoy.HeaderSetCookie) // P-9
	}
	if m.Phase == exchange.ResponseHeaders {
		linksOf(p, h.PublicURL).rewrite(m, &out)
	}
	return out, nil
}

// heldOf returns what the request of a reply held, if it was an agent's that athd
// allowed. People's replies are their own, and a refusal is no reply of an API.
func heldOf(said map[string]string) (held authz.Held, ofAgent bool, err error) {
	switch authz.Reason(said[envoy.MetaReason]) {
	case "":
		return held, false, errUndecided
	case authz.Allowed:
	default:
		return held, false, nil
	}
	if held, err = authz.ParseHeld(said[envoy.MetaHeld]); err != nil {
		return held, false, errUnknown
	}
	return held, true, nil
}

// echoes are the names of the headers that hold a token which the call was sent with,
// sorted.
func echoes(tokens []canary.Canary, headers []exchange.Header) (names []string) {
	for _, token := range tokens {
		search := token.Search()
		for _, h := range headers {
			if !slices.Contains(names, h.Name) && search.In(h.Value) {
				names = append(names, h.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// framing is of headers without which the reply is none, or another one.
func framing(name string) bool {
	return strings.HasPrefix(name, ":") ||
		slices.Contains([]string{"content-length", "transfer-encoding", "connection", "upgrade", "trailer", "te"}, name)
}

// refusal is for a reply that cannot be passed on.
func refusal(decision string) *exchange.Refusal {
	e := ath.Errorf(ath.InternalError, "The API's reply holds what must not reach an agent.").WithStatus(http.StatusBadGateway)
	if decision != "" {
		e = e.WithDetail("decision_id", decision)
	}
	return &exchange.Refusal{Status: e.Status(), Body: string(e.Body()), Details: "ath_reply", Headers: [][2]string{
		{"content-type", "application/json"}, {"cache-control", "no-store"}, {envoy.HeaderDecisionID, decision},
	}}
}

// tell leaves an event of an echo, once a minute for each agent at a provider.
func (r *Role) tell(ctx context.Context, m *exchange.Message, held *authz.Held, id string, names []string) {
	if r.told.Take([2]string{held.Provider, held.Agent}, r.Now()) > 0 {
		return
	}
	text := headerNames(names)
	r.Logger.WarnContext(ctx, "an API's reply holds the user's token, which was taken out", "decision_id", m.Metadata[envoy.MetaDecision],
		"provider_id", id, "headers", text, "hint", "tell whoever runs the API: whoever may read its replies has users' tokens")
	r.Audit.Record(ctx, audit.Event{Kind: audit.CredentialEchoed, DecisionID: m.Metadata[envoy.MetaDecision], AgentID: held.Agent, ProviderID: held.Provider, Headers: text})
}

// headerNames bounds what an event says of names, which the API chooses.
func headerNames(names []string) string {
	const most, longest = 8, 64
	var out []string
	for _, name := range names[:min(len(names), most)] {
		if len(name) > longest || !ath.IsToken(strings.TrimPrefix(name, ":")) {
			name = "(another)"
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// rewrite has links that lead to the API lead here, but for those in headers that go.
func (l links) rewrite(m *exchange.Message, out *exchange.Reply) {
	if l.host.IsZero() {
		return
	}
	for _, name := range []string{"location", "content-location"} {
		value, times := m.Value(name)
		if times != 1 || slices.Contains(out.Remove, name) {
			continue
		}
		if now, ours := l.target(value); ours {
			out.Set = append(out.Set, [2]string{name, now})
		}
	}
	if slices.Contains(out.Remove, "link") {
		return
	}
	var values [][2]string
	some := false
	for _, h := range m.Headers {
		if h.Name != "link" {
			continue
		}
		now, changed := l.header(h.Value)
		if !changed {
			now = h.Value
		}
		values, some = append(values, [2]string{"link", now}), some || changed
	}
	if some {
		out.Set = append(out.Set, values[0])
		out.Add = append(out.Add, values[1:]...)
	}
}
