package httpapi

import (
	"context"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// What is done is on record before it is acknowledged (U-1). What gives rights
// is refused where that cannot be; what takes them away never is.

// Commit puts the event on record before a step does what it reports, for
// actions that have their effect at once. If the step fails after that, a refusal
// with the same decision_id follows, and holds. A step that tries again, since
// others wrote meanwhile, may call it again.
func (s *Server) Commit(c *Call) error {
	if c.Event.Kind == audit.AgentRegistrationDenied {
		return nil // gives nothing
	}
	if c.committed != nil && sameAction(c.committed, &c.Event) {
		return nil
	}
	if err := s.Audit.Commit(brief(c.Event)); err != nil {
		c.Event.Kind = ""
		return err
	}
	e := c.Event
	c.committed = &e
	return nil
}

func sameAction(a, b *audit.Event) bool {
	return a.Kind == b.Kind && a.Reason == b.Reason && a.AgentID == b.AgentID && a.Before == b.Before && a.After == b.After &&
		slices.Equal(a.Effective, b.Effective) && slices.Equal(a.Denied, b.Denied)
}

// acknowledge puts on record what a step has done, if that is not so already.
func (s *Server) acknowledge(ctx context.Context, c *Call) error {
	switch {
	case c.Quiet || c.committed != nil:
		return nil
	case c.Event.Kind.Revokes(), c.Event.Kind == audit.AgentRegistrationDenied:
		s.Record(ctx, c.Event)
		return nil
	}
	err := s.Audit.Commit(brief(c.Event))
	if err != nil {
		if c.Undo != nil {
			c.Undo()
		}
		c.Event.Kind = ""
	}
	return err
}

// refusal completes the event of a step that failed.
func (c *Call) refusal(kind audit.Kind, code ath.Code) audit.Event {
	if c.committed != nil {
		c.Event.Kind, c.Event.Reason = "", ""
	}
	if c.Event.Kind == "" {
		c.Event.Kind = kind
	}
	if c.Event.Reason == "" {
		c.Event.Reason = strings.ToLower(string(code))
	}
	return c.Event
}
