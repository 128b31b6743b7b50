package api

import (
	"time"

	"github.com/athd/athd/ath"
)

// An ExplainRequest is a call that nobody makes: an operator asks how it would
// be judged (POST /ath/admin/explain).
type ExplainRequest struct {
	Token   Secret `json:"token,omitzero"`     // the ATH token; empty: a call without one
	AgentID string `json:"agent_id,omitempty"` // X-ATH-Agent-ID; "": that of the token's agent
	Method  string `json:"method"`
	URL     string `json:"url"`               // as the agent would write it, or its path alone
	Upgrade string `json:"upgrade,omitempty"` // the header of this name; "": none
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
	Nearest    []NearMiss    `json:"nearest"` // where no scope covers the call
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

// A NearMiss is a scope's rule that almost covers the call, and what is missing.
type NearMiss struct {
	Scope   string   `json:"scope"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	Upgrade []string `json:"upgrade,omitempty"`
	Held    bool     `json:"scope_held"`
	Method  bool     `json:"method_fits"`
	Path    bool     `json:"path_fits"`
}
