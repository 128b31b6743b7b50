package authz

import (
	"context"
	"errors"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A Question is what an operator asks: would this request pass?
type Question struct {
	Token   ath.Secret // the ATH token; empty: a request without one
	AgentID string     // X-ATH-Agent-ID; "": the agent whose token it is
	Method  string
	Upgrade string // the Upgrade header; "": none
	URL     string // absolute, or a path alone, as the client writes it
}

// Errors of [Decider.Explain]: the question, not the request, is at fault.
var (
	ErrNoMethod = errors.New("authz: a method is required")
	ErrNoURL    = errors.New("authz: the URL must be absolute, with http or https, or a path that starts with a slash")
)

// An Explanation is how a request would be decided now, rule by rule.
type Explanation struct {
	Decision Decision // the one that Decide would return
	Place    string   // what host and path lead to
	Steps    []Step
	Nearest  []provider.NearMiss // where no scope covers the request: the rules that come nearest, best first
}

// A Step is one rule, and what it found.
type Step struct {
	Rule    string // with its protocol ID
	Found   string // what it looked at; contains no token
	Verdict Verdict
}

// A Verdict is the result of a rule.
type Verdict string

// The verdicts. Rules after the one that decided are not evaluated.
const (
	Holds    Verdict = "ok"
	Refuses  Verdict = "refuses"
	Passes   Verdict = "passes"
	NotAsked Verdict = "not asked"
)

const maxNearest = 3

// Explain evaluates a request with the rules of [Decider.Decide] and describes
// what each of them saw. Nothing is recorded, and only the store is read. The
// provider is found by host and path: what the routes of an Envoy of the
// operator's own say is not known here.
func (d *Decider) Explain(ctx context.Context, question Question) (Explanation, error) {
	if question.Method == "" {
		return Explanation{}, ErrNoMethod
	}
	host, target, ok := cutURL(question.URL)
	if !ok {
		return Explanation{}, ErrNoURL
	}
	r := Request{ID: ath.NewDecisionID(), Method: question.Method, Host: host, Path: target}
	now := d.snapshot.Load()
	r.Provider, r.Mount = now.places.find(host, target)
	added := ""
	if r.Provider == "" && belowProxy(target) && (now.places.consent.IsZero() || ath.RequestedHost(host) != now.places.consent) {
		added, _ = now.places.runtime(target)
		r.Runtime = !d.config.ByHost
	}
	if question.Upgrade != "" {
		r.Upgrade = []string{question.Upgrade}
	}
	if !question.Token.IsZero() {
		r.Authorization = []string{"Bearer " + question.Token.Reveal()}
		r.AgentID = d.agentOf(ctx, question)
	}

	var e Explanation
	e.Place = describePlace(r, added)
	asked := map[string]bool{}
	var last *evaluation
	e.Decision = d.evaluate(ctx, now, r, func(q *evaluation, rule rule, reason Reason) {
		asked[rule.id], last = true, q
		step := Step{Rule: rule.id, Found: rule.describe(q), Verdict: Refuses}
		switch reason {
		case "":
			step.Verdict = Holds
		case PassedThrough, Companion:
			step.Verdict = Passes
		}
		e.Steps = append(e.Steps, step)
	})
	for _, rule := range d.rules {
		if !asked[rule.id] {
			e.Steps = append(e.Steps, Step{Rule: rule.id, Verdict: NotAsked})
		}
	}
	if reason := e.Decision.Reason(); (reason == ScopeMissing || reason == ScopeDenied || reason == UpgradeNotAllowed) && last != nil {
		e.Nearest = last.provider.NearMisses(r.Method, last.segments, e.Decision.Scopes, maxNearest)
	}
	return e, nil
}

// agentOf returns the agent id that the agent would send. Without one in the
// question it is the agent of the token's own grant; an error is ignored here,
// since the rule that reads the store reports it.
func (d *Decider) agentOf(ctx context.Context, question Question) []string {
	if question.AgentID != "" {
		return []string{question.AgentID}
	}
	token, err := ath.ParseToken(question.Token.Reveal())
	if err != nil {
		return nil
	}
	reading, err := d.config.Store.Read(ctx, token, "")
	if err != nil || reading.Grant == nil {
		return nil
	}
	return []string{reading.Grant.Agent}
}

// describePlace: added is the run-time provider that the path names.
func describePlace(r Request, added string) string {
	if _, ok := companionPath(withoutQuery(r.Path), true); ok {
		return "athd's own pages"
	}
	switch {
	case added != "" && !r.Runtime:
		return "provider " + added + ", added at run time, to which no route of a mesh leads"
	case added != "":
		return "provider " + added + ", added at run time, mounted at " + ath.ProxyPath + added + "/"
	case r.Provider == "":
		return "host and path lead to no provider and no app"
	case r.Mount != "":
		return "provider " + r.Provider + ", mounted at " + r.Mount
	}
	return "app " + r.Provider
}

// cutURL cuts a URL into host and target without changing a byte of them,
// which a parser might.
func cutURL(s string) (host, target string, ok bool) {
	s, _, _ = strings.Cut(s, "#") // a client keeps the fragment to itself
	if strings.HasPrefix(s, "/") {
		return "", s, true
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", "", false
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return rest, "/", rest != ""
	}
	if host, target = rest[:end], rest[end:]; target[0] == '?' {
		target = "/" + target
	}
	return host, target, host != "" && !strings.Contains(host, "@")
}
