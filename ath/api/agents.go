package api

// Bounds on what a request may say.
const (
	MaxTextBytes = 512 // of a text for people, and of a provider's name
	MaxProviders = 50  // that one request names
)

// An Agent is a registration as operators see it (O-1). It holds no secret.
type Agent struct {
	ClientID        string          `json:"client_id"`
	AgentID         string          `json:"agent_id"`
	Status          string          `json:"agent_status"`
	Name            string          `json:"name"`
	Developer       Developer       `json:"developer"`
	Purpose         string          `json:"purpose"`
	Providers       []AgentApproval `json:"providers"`
	ApprovalExpires string          `json:"approval_expires,omitempty"` // RFC 3339
	RedirectURIs    []string        `json:"redirect_uris"`
	Registered      string          `json:"registered_at,omitempty"` // RFC 3339
	Pinned          bool            `json:"pinned"`                  // its key, and what it is called, are the operator's word
}

// An AgentApproval is what policy and operators said about one provider.
type AgentApproval struct {
	ID             string   `json:"provider_id"`
	Approved       []string `json:"approved_scopes"`
	Pending        []string `json:"pending_scopes"`
	Denied         []string `json:"denied_scopes"`
	OperatorDenied []string `json:"denied_by_operator"`
	DenialReason   string   `json:"denial_reason,omitempty"`
}

// An AgentList is one page of GET /ath/admin/agents.
type AgentList struct {
	Agents     []Agent  `json:"agents"`
	Unreadable []string `json:"unreadable"` // keys of records that do not open
	Next       string   `json:"next_cursor,omitempty"`
}

// An ApproveRequest says what an operator approves: without providers all that
// is under review; without expires for as long as the policy says.
type ApproveRequest struct {
	Providers []RequestedProvider `json:"providers,omitempty"`
	Expires   string              `json:"expires,omitempty"` // from now, such as 90d
}

// A DenyRequest says what an operator denies: without providers all that is
// under review. The agent hears the reason.
type DenyRequest struct {
	Providers []RequestedProvider `json:"providers,omitempty"`
	Reason    string              `json:"reason,omitempty"`
}

// A HostRequest names hosts: one, or with "*." all below a name.
type HostRequest struct {
	Host string `json:"host"`
}

// A SuspendedHost is one that operators suspended, and who did.
type SuspendedHost struct {
	Host  string `json:"host"`
	By    string `json:"by"`
	Since string `json:"since"` // RFC 3339
}

// A HostList is the answer of GET /ath/admin/hosts.
type HostList struct {
	Hosts []SuspendedHost `json:"hosts"`
}

// A HostSuspendReply counts the agents of a host that was suspended.
type HostSuspendReply struct {
	Host      string `json:"host"`
	Suspended int    `json:"suspended_agents"`         // by this request
	Already   int    `json:"already_suspended_agents"` // before it
}

// A HostResumeReply counts the agents of a host that was resumed.
type HostResumeReply struct {
	Host      string `json:"host"`
	Suspended int    `json:"suspended_agents"` // which stay so, each until it is resumed
}
