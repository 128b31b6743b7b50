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
}

// An AdminToken lets its bearer act as an operator. Only its digest is kept.
type AdminToken struct {
	Name   string
	Digest ath.Digest
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
	for _, t := range c.AdminTokens {
		if t.Digest.IsZero() || t.Name == "" {
			return nil, errors.New("httpapi: an admin token has no name or no digest")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Turns == nil {
		c.Turns = NewTurns()
	}
	if c.Limited == nil {
		c.Limited = func(string) {}
	}
	limiter, err := newLimiter(c.Limits, c.Limited)
	if err != nil {
		return nil, err
	}
	c.Limits = limiter.Limits
	return &Server{Config: c, Registrations: Registrations{store: c.Store, log: c.Logger, now: c.Now}, limiter: limiter}, nil
}

// Proved counts a call of an agent that has just proved who it is, or says why
// it is too much. Before that nothing is counted against an agent, or anybody
// could use up what is its own.
func (s *Server) Proved(agent ath.Tag) error { return s.limiter.proved(agent, s.Now()) }
