package api

// A Connection is the OAuth grant of one agent, or of all of the user's agents that
// share it, for one user at one provider, as
// operators see it. It holds no token, neither of athd's nor of the user's.
type Connection struct {
	ID     string   `json:"connection_id"`
	Agent  string   `json:"agent_id"`         // "" of one that the user's agents share
	Shared bool     `json:"shared,omitempty"` // grants: per_user
	Agents []string `json:"agents,omitempty"` // that share it and have a live ATH token
	User   string   `json:"user_id"`
	// UserHidden: the operator that asks is not told who the user is.
	UserHidden bool   `json:"user_hidden,omitempty"`
	Provider   string `json:"provider_id"`
	// Scopes are those that the provider granted, as its reply named them, which may
	// be more than an agent asked for; those asked for, where it named none.
	Scopes   []string `json:"scopes"`
	Since    string   `json:"since"` // RFC 3339
	LastUsed string   `json:"last_used,omitempty"`

	Tokens      int    `json:"tokens"`                  // live ATH tokens
	TokensUntil string `json:"tokens_expire,omitempty"` // the last of them
	Expires     string `json:"expires,omitempty"`       // of the user's token at the provider; not there where the provider did not say
	// Renewals are the standing consents (T-8), the newest first.
	Renewals []ConnectionRenewal `json:"renewals,omitempty"`
	State    string              `json:"state"` // one of the States of connections
	// RefreshExpires is the end of the refresh token; not there where it has none, or
	// the provider did not say.
	RefreshExpires string `json:"refresh_expires,omitempty"`
	Refreshable    bool   `json:"refreshable"`               // athd can get another token when this one has expired
	Refresh        string `json:"refresh"`                   // why it can, or not
	LastError      string `json:"last_error,omitempty"`      // what was wrong with it last
	AtProvider     string `json:"end_at_provider,omitempty"` // of one connection: what its end does at the provider
}

// A ConnectionRenewal is a standing consent: its agent gets further ATH tokens
// without the user. It ends at the first of Until and IdleUntil.
type ConnectionRenewal struct {
	Agent     string   `json:"agent_id"`
	Scopes    []string `json:"scopes"`
	Since     string   `json:"since"`      // RFC 3339
	LastUsed  string   `json:"last_used"`  // up to a thirtieth of the idle time behind
	Until     string   `json:"until"`      // in any case
	IdleUntil string   `json:"idle_until"` // if it is not used before
}

// The states of connections.
const (
	ConnectionLive = "live" // there is a token that works, or will be one in a moment
	ConnectionIdle = "idle" // no live ATH token
	// ConnectionStanding has no live ATH token either, but its agent can get one
	// without the user.
	ConnectionStanding = "standing"
	ConnectionExpired  = "expired" // the user's token has expired, and nothing can refresh it
	ConnectionRefused  = "refused" // the provider no longer accepts the user's token
	ConnectionMoved    = "moved"   // the provider's endpoints are not those that the user agreed to
)

// A ConnectionList is one page of GET /ath/admin/connections. A page may be short,
// or empty, and not be the last. What is used meanwhile may be on two.
type ConnectionList struct {
	Connections []Connection `json:"connections"`
	Unreadable  []string     `json:"unreadable"` // ids of records that do not open
	Next        string       `json:"next_cursor,omitempty"`
}

// A ConnectionEndReply says whether there was anything to end: a second time
// there is not.
type ConnectionEndReply struct {
	ID    string `json:"connection_id"`
	Ended bool   `json:"ended"`
	// AtProvider is one of the Ends at providers; not there where nothing ended.
	AtProvider string `json:"at_provider,omitempty"`
}

// What becomes of a user's grant at the provider when its connection ends.
const (
	EndQueued      = "queued"       // it is revoked there within moments, or as soon as the provider answers
	EndWaits       = "waits"        // it is, once the user's other connections with the same OAuth client have ended
	EndNever       = "never"        // the configuration says so
	EndUnsupported = "unsupported"  // the provider has no way to
	EndUserUnknown = "user_unknown" // whether the user has other connections cannot be known
	EndUnreadable  = "unreadable"   // the connection did not open
)

// A ConnectionRefreshReply says what came of an operator's refresh.
type ConnectionRefreshReply struct {
	ID       string `json:"connection_id"`
	Outcome  string `json:"outcome"`                    // one of the Outcomes of refreshes
	Said     string `json:"said"`                       // the same for people
	Expires  string `json:"expires,omitempty"`          // of the user's token that is stored now
	Upstream string `json:"upstream_error,omitempty"`   // the code by which the provider refused
	Again    int    `json:"again_in_seconds,omitempty"` // when it is worth to ask next
}

// The outcomes of refreshes that operators ask for. With the first two there is a
// fresh token; with all others there is not, or not yet.
const (
	RefreshDone           = "refreshed"       // the provider gave a token now
	RefreshFresh          = "fresh"           // it did so some seconds ago, and was not asked again
	RefreshNothing        = "not_refreshable" // there is nothing to refresh by
	RefreshRefused        = "refused"         // the provider refuses: the user must authorize again
	RefreshProviderAway   = "provider_away"   // it gave no token; the user's grant is kept
	RefreshStoreAway      = "store_away"      // Redis does not answer; what came back is written once it does
	RefreshUnderWay       = "under_way"       // somebody is at it
	RefreshConnectionGone = "gone"            // the connection ended meanwhile
)

// A UserEndRequest names a user, by the id at the provider, and a provider, or
// all. With the cursor of a reply it goes on where that one stopped.
type UserEndRequest struct {
	User     string `json:"user_id"`
	Provider string `json:"provider_id,omitempty"`
	Cursor   string `json:"cursor,omitempty"`
}

// A UserEndReply counts the connections that the request ended. With a cursor it
// is not through.
type UserEndReply struct {
	User     string `json:"user_id"`
	Provider string `json:"provider_id,omitempty"`
	Ended    int    `json:"ended_connections"`
	// AtProvider counts them by what becomes of the grant at the provider: queued
	// includes what waits.
	AtProvider map[string]int `json:"at_provider,omitempty"`
	Next       string         `json:"next_cursor,omitempty"`
}

// MaxUserBytes bounds the id of a user in a request.
const MaxUserBytes = 1024
