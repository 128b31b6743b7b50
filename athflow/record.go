package athflow

import (
	"context"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// What is done is on record before it is acknowledged (U-1). What gives rights
// is refused where that cannot be; what takes them away never is.

// commit puts the event on record before a step does what it tells of, for
// deeds that have their effect at once. If the step fails after that, a refusal
// with the same decision_id follows, and holds. A step that tries again, since
// others wrote meanwhile, may call it again.
func (f *Flow) commit(c *call) error {
	if c.event.Kind == audit.AgentRegistrationDenied {
		return nil // gives nothing
	}
	if c.committed != nil && sameDeed(c.committed, &c.event) {
		return nil
	}
	if err := f.Audit.Commit(brief(c.event)); err != nil {
		c.event.Kind = ""
		return err
	}
	e := c.event
	c.committed = &e
	return nil
}

func sameDeed(a, b *audit.Event) bool {
	return a.Kind == b.Kind && a.Reason == b.Reason && a.AgentID == b.AgentID &&
		slices.Equal(a.Effective, b.Effective) && slices.Equal(a.Denied, b.Denied)
}

// acknowledge puts on record what a step has done, if that is not so already.
func (f *Flow) acknowledge(ctx context.Context, c *call) error {
	switch {
	case c.quiet || c.committed != nil:
		return nil
	case c.event.Kind.Revokes(), c.event.Kind == audit.AgentRegistrationDenied:
		f.record(ctx, c.event)
		return nil
	}
	err := f.Audit.Commit(brief(c.event))
	if err != nil {
		if c.undo != nil {
			c.undo()
		}
		c.event.Kind = ""
	}
	return err
}

// refusal completes the event of a step that failed.
func (c *call) refusal(kind audit.Kind, code ath.Code) audit.Event {
	if c.committed != nil {
		c.event.Kind, c.event.Reason = "", ""
	}
	if c.event.Kind == "" {
		c.event.Kind = kind
	}
	if c.event.Reason == "" {
		c.event.Reason = strings.ToLower(string(code))
	}
	return c.event
}
