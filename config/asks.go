package config

import "github.com/athd/athd/ath/api"

// Asks is by what Envoy is to ask athd, as operators and verify-envoy are told it.
func (e *EnvoySettings) Asks() *api.EnvoyAsks {
	second := func(is bool, first, second string) string {
		if is {
			return second
		}
		return first
	}
	return &api.EnvoyAsks{
		Filter:        second(e.ByExtProc, FilterExtAuthz, FilterExtProc),
		Streams:       second(e.WatchesStreams, StreamsBounded, StreamsWatched),
		StreamsOnLoss: second(e.KeepsStreams, OnLossEnd, OnLossKeep),
		Replies:       second(e.ChecksReplies, RepliesCleared, RepliesChecked),
	}
}

// What each of these keys of envoy may be; the first is the default.
const (
	FilterExtAuthz = "ext_authz"
	FilterExtProc  = "ext_proc"

	StreamsBounded = "bounded"
	StreamsWatched = "watched"

	OnLossEnd  = "end"
	OnLossKeep = "keep"

	RepliesCleared = "cleared"
	RepliesChecked = "checked"
)
