package api

import "github.com/athd/athd/ath"

// A RefusalList is the answer of GET /ath/admin/refusals: the last refusals of
// the replica that answers, the newest first. Since is when it started: it
// remembers none from before.
type RefusalList struct {
	Replica  string    `json:"replica"` // its host's name
	Since    string    `json:"since"`   // RFC 3339
	Refusals []Refusal `json:"refusals"`
}

// A Refusal is one, or Count of them that differ in nothing but their time. It
// holds no token and no query.
type Refusal struct {
	Time       string   `json:"time"`        // RFC 3339; of the last of them
	DecisionID string   `json:"decision_id"` // of the last of them
	Code       ath.Code `json:"code"`
	Reason     string   `json:"denial_reason"` // as in the audit log
	Provider   string   `json:"provider_id"`
	Agent      string   `json:"agent_id"`
	Method     string   `json:"method"`
	Path       string   `json:"path"`
	Count      int      `json:"count"`
}
