package api

// A StreamList is the answer of GET /ath/admin/streams: the exchanges that the replica
// which answers watches, the newest first.
type StreamList struct {
	Replica string   `json:"replica"` // its host's name
	Watched bool     `json:"watched"` // whether Envoy is to have athd watch any
	All     int      `json:"all"`     // how many there are, also of those that are not listed
	Streams []Stream `json:"streams"`
}

// A Stream is an exchange that goes on.
type Stream struct {
	DecisionID string `json:"decision_id"` // of the decision that let it in
	Agent      string `json:"agent_id"`
	Provider   string `json:"provider_id"`
	Scope      string `json:"scope"` // by which it passed
	Connection string `json:"connection_id"`
	Since      string `json:"since"`   // RFC 3339
	Expires    string `json:"expires"` // its end by itself: that of its token, or of the approval
}
