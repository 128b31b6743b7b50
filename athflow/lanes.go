package athflow

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/athd/athd/ath"
)

// A lane is a part of the places for requests under way that no other takes.
// What takes rights away has its own, so that it works while the handshake is
// flooded.
type lane int

const (
	strangers lane = iota // the handshake
	endings               // /ath/revoke, and an agent that removes itself
	operators             // who bring an admin token that is one
	lanes
)

// places of the lanes that have their own.
const (
	endingPlaces   = 256
	operatorPlaces = 64
)

// laneOf says where a request belongs. An operator's proof is looked at first,
// and a request that only an operator may make is refused before anything of it
// is read.
func (f *Flow) laneOf(r *http.Request) lane {
	switch {
	case !f.AdminPrivate && (r.URL.Path == ath.RevokePath || strings.HasPrefix(r.URL.Path, ath.AdminPath)) && f.isOperator(r.Header):
		return operators
	case r.URL.Path == ath.RevokePath, r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, ath.AgentsPath):
		return endings
	}
	return strangers
}

func (f *Flow) isOperator(h http.Header) bool {
	_, ok := f.operator(h)
	return ok
}

// laneIn is the lane of the request that ctx is of.
func laneIn(ctx context.Context) lane {
	in, _ := ctx.Value(laneKey{}).(lane)
	return in
}

// noOperator refuses who is none.
func (f *Flow) noOperator(h http.Header, from netip.Addr) error {
	if err := f.guessed(h, from); err != nil {
		return err
	}
	return ath.Errorf(ath.Unauthorized, "An admin token is required.")
}

// guessed counts a wrong proof, if there was one. Of one address so many are
// answered as such, and then they are too much; a token that is right is looked
// at first and never too late, wherever it comes from: attackers who share an
// address with operators must not lock them out, and a token's entropy, not
// this, is what keeps it from being guessed. Whoever asks from this machine,
// past Envoy, is not counted.
func (f *Flow) guessed(h http.Header, from netip.Addr) error {
	none := len(h.Values("X-ATH-User-Token"))+len(h.Values("Authorization")) == 0
	if none || !from.IsValid() || from.IsLoopback() && len(h.Values("X-Forwarded-For")) == 0 {
		return nil
	}
	wait := f.limiter.guesses.take(network(from), f.Now())
	if wait <= 0 {
		return nil
	}
	f.Limited("admin_proofs")
	return tooMany("There were too many wrong admin tokens from this address.", wait)
}
