package athflow

import (
	"context"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
)

// An ExplainRequest is a call that nobody makes: an operator asks how it
// would be judged.
type ExplainRequest struct {
	Token   ath.Secret // the ATH token; empty: a call without one
	AgentID string     // X-ATH-Agent-ID; "": that of the token's agent
	Method  string
	Upgrade string // the header of this name; "": none
	URL     string // as the agent would write it, or its path alone
}

// An Explanation is how the call would be judged, and why. It holds no token.
type Explanation struct {
	DecisionID string        `json:"decision_id"` // of this question: its event has it
	Time       time.Time     `json:"time"`
	Verdict    Verdict       `json:"verdict"`
	Status     int           `json:"status,omitempty"` // of the refusal, with code and message
	Code       ath.Code      `json:"code,omitempty"`
	Message    string        `json:"message,omitempty"`
	Reason     string        `json:"reason"` // as in the audit log
	Place      string        `json:"place"`  // where host and path lead
	Provider   string        `json:"provider_id"`
	Agent      string        `json:"agent_id"`
	User       string        `json:"user_id"`
	Scopes     []string      `json:"scopes"` // that the token still stands for
	Scope      string        `json:"scope"`  // of them the one that covers the call
	Steps      []ExplainStep `json:"steps"`
	Nearest    []NearRule    `json:"nearest"` // where no scope covers the call
}

// A Verdict is what a call would come to.
type Verdict string

// The verdicts.
const (
	WouldAllow  Verdict = "allow"
	WouldRefuse Verdict = "refuse"
	WouldPass   Verdict = "pass through" // without a token, as people call
)

// An ExplainStep is one rule, what it looked at and what it came to.
type ExplainStep struct {
	Rule    string `json:"rule"`
	Found   string `json:"found"`
	Verdict string `json:"verdict"` // ok, refuses, passes or not asked
}

// A NearRule is a scope's rule that comes near to the call, and how.
type NearRule struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Held    bool     `json:"scope_held"`
	Method  bool     `json:"method_fits"`
	Path    bool     `json:"path_fits"`
}

// explainRequest is an ExplainRequest on its way in.
type explainRequest struct {
	Token   api.Secret `json:"token"`
	AgentID string     `json:"agent_id"`
	Method  string     `json:"method"`
	URL     string     `json:"url"`
	Upgrade string     `json:"upgrade"`
}

// optional makes the decoding strict: with a misspelt agent_id another
// question would be answered.
func (*explainRequest) optional() string { return "token, agent_id, method, url and upgrade" }

// explain says how a call would be judged, step by step, by the code that
// judges calls. It leaves an event of its own, since whoever asks learns whose
// token it is.
func (f *Flow) explain(ctx context.Context, c *call, req *explainRequest) (*Explanation, error) {
	switch {
	case req.Method == "":
		return nil, invalidField("method", "A method is required.")
	case req.URL == "":
		return nil, invalidField("url", "A URL is required.")
	}
	e, err := f.Explain(ctx, ExplainRequest{Token: req.Token.Secret, AgentID: req.AgentID, Method: req.Method, URL: req.URL, Upgrade: req.Upgrade})
	if err != nil {
		return nil, err
	}
	c.event.Kind, c.event.DecisionID = audit.RequestExplained, e.DecisionID
	c.event.AgentID, c.event.UserID, c.event.ProviderID = e.Agent, e.User, e.Provider
	if e.Verdict == WouldRefuse {
		c.event.Reason = e.Reason
	}
	return e, nil
}
