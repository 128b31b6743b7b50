package authz

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A Reader fetches what a token stands for. It is one round trip.
// [tokenstore.Store] is the one that serves.
type Reader interface {
	Read(ctx context.Context, token ath.Token, agentID string) (tokenstore.Reading, error)
}

// A HeldReader fetches what a token stands for of which only tag and digest are
// known. [tokenstore.Store] is the one that serves.
type HeldReader interface {
	ReadHeld(ctx context.Context, tag ath.Tag, digest ath.Digest, agentID string) (tokenstore.Reading, error)
}

// A Renewer gets new upstream tokens. [vault.Vault] is the one that serves.
type Renewer interface {
	// Soon says that a connection was used whose token ends soon. It returns at once.
	Soon(*provider.Provider, *tokenstore.Grant, *tokenstore.Connection)
	// Renew waits for a new token in place of one that has ended.
	Renew(context.Context, *provider.Provider, *tokenstore.Grant, *tokenstore.Connection) vault.Result
}

// Config configures a [Decider].
type Config struct {
	Store     Reader
	Held      HeldReader          // for [Decider.Holds]; nil: no call holds
	Providers *provider.Providers // may be replaced at any time
	// Policy has the rules that deny, also to agents that are registered, until
	// [Decider.UsePolicy] says otherwise. What approves is not asked here.
	Policy approval.Policy
	// CallsPerGrant is how many calls one user's consent for one agent is good for at
	// this athd, until [Decider.LimitCalls] says otherwise. The zero Rate: any number.
	CallsPerGrant ratelimit.Rate
	// ByHost finds the provider by the request's host and path where its route
	// names none: for meshes, whose routes cannot. Without it such a route leads to
	// no provider.
	ByHost bool
	// Used is told of each call that passes; nil: nobody is. It must not wait.
	Used func(g *tokenstore.Grant, now time.Time)
	// PublicURL is athd's own, whose discovery a 401 names; "": none.
	PublicURL string
	// Healer and ConsentURL make the links by which users heal connections (P-10).
	// Without one of them there are none.
	Healer     Healer
	ConsentURL string // an origin
	// ConsentHost, without a port, has the consent pages and nothing else, and
	// no other host has them. The zero Host: they are wherever athd answers.
	// Used with ByHost; otherwise Envoy's routes ensure it.
	ConsentHost ath.Host
	// CallbackPerProvider: athd answers below /ath/callback/, too. Where it does
	// not, a mesh's routes may well lead there to an app.
	CallbackPerProvider bool

	// Renewer refreshes upstream tokens; nil: what has ended has ended.
	Renewer Renewer

	// Rejected has an upstream token replaced that an API has rejected, once; nil:
	// nobody does. [vault.Vault.Rejected] is the one that serves.
	Rejected func(context.Context, *provider.Provider, tokenstore.ConnectionRef, ath.Fingerprint) vault.Rejection
	// ObserveRejected is told what became of each; may be nil. provider is a
	// configured id or "".
	ObserveRejected func(provider string, outcome vault.Rejection)

	Audit   *audit.Log
	Logger  *slog.Logger
	Now     func() time.Time                                       // nil: time.Now
	Observe func(d *Decision, provider string, took time.Duration) // for metrics; may be nil. provider is a configured id or ""
}

// A Decider decides about requests. It is safe for concurrent use.
type Decider struct {
	config   Config
	rules    []rule
	reads    int // the place of the rule that reads the store
	snapshot atomic.Pointer[snapshot]
	mu       sync.Mutex // held while the snapshot is replaced
	unknown  *unknown
}

// New returns a Decider that applies every rule.
func New(c Config) (*Decider, error) {
	for name, missing := range map[string]bool{
		"Store": c.Store == nil, "Providers": c.Providers == nil, "Audit": c.Audit == nil, "Logger": c.Logger == nil,
	} {
		if missing {
			return nil, fmt.Errorf("authz: %s is required", name)
		}
	}
	if len(c.Policy.Rules) > 0 {
		if err := c.Policy.Check(); err != nil {
			return nil, err
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(*Decision, string, time.Duration) {}
	}
	if c.ObserveRejected == nil {
		c.ObserveRejected = func(string, vault.Rejection) {}
	}
	d := &Decider{config: c, rules: allRules(), unknown: new(unknown)}
	d.reads = slices.IndexFunc(d.rules, func(r rule) bool { return r.id == ruleRead })
	first := newDenials(c.Policy)
	c.Providers.Each(func(set *provider.Set) {
		d.mu.Lock()
		defer d.mu.Unlock()
		before := d.snapshot.Load()
		next := newSnapshot(&d.config, set, before)
		if next.denials, next.calls = first, newCalls(c.CallsPerGrant, nil); before != nil {
			next.denials, next.calls = before.denials, before.calls
		}
		d.snapshot.Store(next)
	})
	return d, nil
}

// Decide evaluates one request, records the event and returns the decision. It
// never panics: what would, refuses.
func (d *Decider) Decide(ctx context.Context, r Request) (decision Decision) {
	start := time.Now() // monotonic: a duration, not a date
	if r.ID == "" {
		r.ID = ath.NewDecisionID()
	}
	now := d.snapshot.Load()
	decision = d.evaluate(ctx, now, r, nil)
	p := now.set.Get(decision.Provider)
	d.record(ctx, &decision, p, r.Client)
	if !decision.Allowed() {
		d.remember(&decision, p, &r)
	}
	known := ""
	if p != nil {
		known = p.ID
	}
	d.config.Observe(&decision, known, time.Since(start))
	return decision
}

// evaluate applies the rules. watch, if it is not nil, is called after each.
func (d *Decider) evaluate(ctx context.Context, now *snapshot, r Request, watch func(*evaluation, rule, Reason)) (decision Decision) {
	q := &evaluation{Config: &d.config, snapshot: now, ctx: ctx, request: r, now: d.config.Now()}
	if watch == nil { // Explain always reads the store
		q.unknown = d.unknown
	}
	q.explains = watch != nil
	q.decision = Decision{ID: r.ID, Provider: r.Provider, reason: InternalError}
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything that a caller sent: its type is enough.
			d.config.Logger.ErrorContext(ctx, "rule panicked",
				"decision_id", r.ID, "panic", fmt.Sprintf("%T", p))
			decision = Decision{ID: r.ID, Provider: r.Provider, reason: InternalError}
		}
	}()
	switch {
	case r.misrouted():
		d.config.Logger.ErrorContext(ctx, "a route names a provider, and run-time providers too; the request is refused",
			"decision_id", r.ID, "hint", "envoy's configuration was changed: athctl verify-envoy says where")
		return q.decision
	case r.Runtime:
		q.request.Provider, q.request.Mount = now.places.runtime(r.Path)
	case r.Provider == "" && d.config.ByHost:
		q.request.Provider, q.request.Mount = now.places.find(r.Host, r.Path)
	}
	q.decision.Provider = q.request.Provider
	q.provider = now.set.Get(q.request.Provider)
	for i := 0; i < len(d.rules); i++ {
		rule := d.rules[i]
		reason := rule.check(q)
		if watch != nil {
			watch(q, rule, reason)
		}
		switch reason {
		case "":
			continue
		case renewed:
			// What was read is as old as the wait was long: all that depends on it
			// is judged again.
			i = d.reads - 1
			continue
		case PassedThrough, Companion:
			q.decision.allow = true
		default:
			q.decision.hint = q.hint(reason)
		}
		q.decision.reason = reason
		return q.decision
	}
	q.decision.Scope = q.scope
	q.decision.credential = q.reading.Connection.Access
	q.decision.Rest = min(q.reading.Grant.Expires.Sub(q.now), q.reading.Agent.ApprovalExpires.Sub(q.now))
	q.decision.target, q.decision.retries = q.target, q.provider.RetryOn401
	q.decision.holds = holds{token: q.token, grant: q.reading.Grant, provider: q.provider, runtime: q.request.Runtime, until: q.now.Add(q.decision.Rest)}
	q.decision.reason, q.decision.allow = Allowed, true
	if q.Used != nil && watch == nil {
		q.Used(q.reading.Grant, q.now)
	}
	return q.decision
}

// remember keeps a refusal for operators who ask what was refused lately.
func (d *Decider) remember(decision *Decision, p *provider.Provider, r *Request) {
	path := withoutQuery(r.Path)
	if row, _ := ath.FindPath(path); row.Path == ath.HealPath {
		path = row.Sample() // the link is its user's
	}
	refused := audit.Refusal{
		DecisionID: decision.ID, Code: refusal(decision.Reason()).Code, Reason: string(decision.Reason()),
		ProviderID: decision.Provider, AgentID: decision.Agent, Method: withoutToken(r.Method), Path: withoutToken(path),
	}
	if p != nil {
		refused.ProviderID = p.ID
	}
	d.config.Audit.Refused(refused, decision.Agent != "")
}

// withoutToken is the text, unless an agent wrote a token into it.
func withoutToken(s string) string {
	if holdsToken(s) {
		return "(holds a token)"
	}
	return s
}

// record writes the event, about the provider p, if there is one. The client's
// address is for those that were refused.
func (d *Decider) record(ctx context.Context, decision *Decision, p *provider.Provider, client string) {
	e := audit.Event{
		Kind: audit.ProxyRequest, AgentID: decision.Agent, UserID: decision.User,
		ProviderID: decision.Provider, DecisionID: decision.ID,
	}
	if p != nil {
		e.ProviderID = p.ID // a route may have another of its names
	}
	if !decision.Allowed() {
		e.Client = client
	}
	switch {
	case decision.ForCompanion():
		return // the handshake records its own
	case decision.PassesThrough():
	case decision.Allowed():
		e.Effective = decision.Scopes
		e.Derived = p != nil && p.Derived
	case decision.Reason() == ScopeMissing || decision.Reason() == ScopeDenied || decision.Reason() == UpgradeNotAllowed:
		e.Kind, e.Effective, e.Reason = audit.ScopeViolation, decision.Scopes, string(decision.Reason())
	default:
		e.Kind, e.Reason, e.Repeats = audit.AccessDenied, string(decision.Reason()), decision.Reason() == RateLimited
	}
	d.config.Audit.Record(ctx, e)
}
