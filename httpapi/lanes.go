package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/athd/athd/ath"
)

// A Lane is a part of the places for requests under way that no other takes.
// What takes rights away has its own, so that it works while the handshake is
// flooded.
type Lane int

// The lanes.
const (
	LaneHandshake Lane = iota // the handshake: strangers
	LaneEndings               // /ath/revoke, and an agent that removes itself
	LaneOperators             // who bring an admin token that is one
	lanes
)

// Places of the lanes that have their own.
const (
	endingPlaces   = 256
	operatorPlaces = 64
)

// LaneOf says where a request belongs. Where operators are served, their proof
// is looked at first, and a request that only an operator may make is refused
// before anything of it is read.
func (s *Server) LaneOf(r *http.Request, operatorsHere bool) Lane {
	switch {
	case operatorsHere && (r.URL.Path == ath.RevokePath || strings.HasPrefix(r.URL.Path, ath.AdminPath)) && s.isOperator(r.Header):
		return LaneOperators
	case r.URL.Path == ath.RevokePath, r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, ath.AgentsPath):
		return LaneEndings
	}
	return LaneHandshake
}

func (s *Server) isOperator(h http.Header) bool {
	_, ok := s.Operator(h)
	return ok
}

type laneKey struct{}

// InLane returns the request in a lane.
func InLane(r *http.Request, in Lane) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), laneKey{}, in))
}

// laneIn is the lane of the request that ctx is of.
func laneIn(ctx context.Context) Lane {
	in, _ := ctx.Value(laneKey{}).(Lane)
	return in
}

// Guessed counts a wrong proof, if there was one. Of one address so many are
// answered as such, and then they are too much; a token that is right is looked
// at first and never too late, wherever it comes from: attackers who share an
// address with operators must not lock them out, and a token's entropy, not
// this, is what keeps it from being guessed. Whoever asks from this machine,
// past Envoy, is not counted.
func (s *Server) Guessed(h http.Header, from netip.Addr) error {
	none := len(h.Values("X-ATH-User-Token"))+len(h.Values("Authorization")) == 0
	if none || !from.IsValid() || from.IsLoopback() && len(h.Values("X-Forwarded-For")) == 0 {
		return nil
	}
	wait := s.limiter.guesses.Take(Network(from), s.Now())
	if wait <= 0 {
		return nil
	}
	s.Limited("admin_proofs")
	return TooMany("There were too many wrong admin tokens from this address.", wait)
}
