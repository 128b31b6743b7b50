package api

// What a registration may come to, as agent_status says.
const (
	StatusApproved  = "approved"
	StatusPending   = "pending" // an operator decides
	StatusDenied    = "denied"
	StatusSuspended = "suspended" // by an operator; every token of the agent is dead
)

// A RegisterRequest is the body of POST /ath/agents/register.
type RegisterRequest struct {
	AgentID      string              `json:"agent_id"`
	Attestation  Secret              `json:"agent_attestation"`
	Developer    Developer           `json:"developer"`
	Providers    []RequestedProvider `json:"requested_providers"`
	Purpose      string              `json:"purpose,omitempty"`
	RedirectURIs []string            `json:"redirect_uris,omitempty"`
}

// A Developer answers for an agent.
type Developer struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Contact string `json:"contact,omitempty"`
}

// A RequestedProvider is what an agent asks for of one provider.
type RequestedProvider struct {
	ID     string   `json:"provider_id"`
	Scopes []string `json:"scopes"`
}

// A RegisterReply is the answer: credentials, and what the operator's policy
// says to what was asked for.
type RegisterReply struct {
	ClientID        string             `json:"client_id"`
	ClientSecret    Secret             `json:"client_secret"` // shown this once
	Status          string             `json:"agent_status"`
	Providers       []ApprovedProvider `json:"approved_providers"`
	ApprovalExpires string             `json:"approval_expires"` // RFC 3339
}

// An ApprovedProvider is what a registration has of one provider. A scope in
// neither list is under review.
type ApprovedProvider struct {
	ID           string   `json:"provider_id"`
	Approved     []string `json:"approved_scopes"`
	Denied       []string `json:"denied_scopes"`
	DenialReason string   `json:"denial_reason,omitempty"`
}

// A Registration is an agent's own, as it reads it back.
type Registration struct {
	ClientID        string             `json:"client_id"`
	AgentID         string             `json:"agent_id"`
	Status          string             `json:"agent_status"`
	Providers       []ApprovedProvider `json:"approved_providers"`
	ApprovalExpires string             `json:"approval_expires"` // RFC 3339
	RedirectURIs    []string           `json:"redirect_uris"`
}

// A RemoveReply says that a registration has ended.
type RemoveReply struct {
	Removed bool `json:"removed"`
}
