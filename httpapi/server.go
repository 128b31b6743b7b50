package httpapi

import (
	"errors"
	"log/slog"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// Config configures a [Server]. Store, Audit and Logger are required.
type Config struct {
	Store  *tokenstore.Store
	Audit  *audit.Log
	Logger *slog.Logger

	Now         func() time.Time // nil: time.Now
	AdminTokens []AdminToken     // none: nobody is an operator
	Limits      Limits           // the zero value: DefaultLimits

	// Turns are shared with what verifies attestations. nil: it has none.
	Turns *Turns

	// Limited is called with what was too much, one of [LimitNames], for
	// metrics. nil: nobody counts.
	Limited func(limit string)

	// OperatorRefused is called with why an operator's request was refused, one of
	// [OperatorRefusals], for metrics. nil: nobody counts.
	OperatorRefused func(why string)

	// Before is the Server whose place this one takes while requests are served,
	// with other tokens or limits: what it has counted goes on to be counted. nil:
	// it is the first.
	Before *Server
}

// A Server is what handlers of one process share. It keeps nothing between
// requests but what limits them: all state is in the store.
type Server struct {
	Config
	Registrations Registrations
	limiter       *limiter
}

// New checks the configuration once.
func New(c Config) (*Server, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("httpapi: Store is required")
	case c.Audit == nil:
		return nil, errors.New("httpapi: Audit is required")
	case c.Logger == nil:
		return nil, errors.New("httpapi: Logger is required")
	}
	if err := CheckAdminTokens(c.AdminTokens); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Turns == nil {
		c.Turns = NewTurns()
	}
	if c.OperatorRefused == nil {
		c.OperatorRefused = func(string) {}
	}
	if c.Limited == nil {
		c.Limited = func(string) {}
	}
	var before *limiter
	if c.Before != nil {
		before = c.Before.limiter
	}
	limiter, err := newLimiter(c.Limits, c.Limited, before)
	if err != nil {
		return nil, err
	}
	c.Limits, c.Before = limiter.Limits, nil
	return &Server{Config: c, Registrations: Registrations{store: c.Store, log: c.Logger, now: c.Now}, limiter: limiter}, nil
}

// Proved counts a call of an agent that has just proved who it is, or says why
// it is too much. Before that nothing is counted against an agent, or anybody
// could use up what is its own.
func (s *Server) Proved(agent ath.Tag) error { return s.limiter.proved(agent, s.Now()) }

// Renewing counts a use of a renewal by its own agent, or says why it is too much.
func (s *Server) Renewing(renewal ath.Digest) error { return s.limiter.renewal(renewal, s.Now()) }

// Changing counts a change of a provider by an operator, or says why it is too much.
func (s *Server) Changing(operator string) error {
	wait := s.limiter.changes.Take(operator, s.Now())
	if wait <= 0 {
		return nil
	}
	s.Limited("provider_changes")
	return TooMany("There were too many changes of providers by this operator.", wait)
}
