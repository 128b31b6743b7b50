package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/athd/athd/envoy"
)

// Roles are those that athd has, by the names that package envoy gives them.
type Roles map[string]Role

// Know reports what is wrong with the roles of a stream. Who judges does so before
// others hear, and nobody hears twice. Who gives the token of a second try is alone:
// on any other filter than an API's own it would take the first try for rejected, and
// what it says of the token would stand in the place of what was decided.
func (r Roles) Know(names []string) error {
	for i, name := range names {
		switch {
		case r[name] == nil:
			return fmt.Errorf("athd does not have the role %q here", name)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("the role %q is said twice", name)
		case name == envoy.RoleJudge && i > 0:
			return fmt.Errorf("the role %q is said behind another", name)
		case name == envoy.RoleRetry && len(names) > 1:
			return fmt.Errorf("the role %q is said beside another", name)
		}
	}
	if len(names) == 0 {
		return errors.New("no role is said")
	}
	return nil
}

// Open opens the roles of a stream, all of which are known. Where a platform has one
// filter only, there may be several: each hears what the one before it has said of
// the request, and nobody hears behind who refuses.
func (r Roles) Open(s *Stream) Hearing {
	if len(s.Roles) == 1 {
		return r[s.Roles[0]].Open(s)
	}
	c := &chain{said: map[string]string{}}
	for _, name := range s.Roles {
		c.hearings = append(c.hearings, r[name].Open(s))
	}
	return c
}

type chain struct {
	hearings []Hearing
	said     map[string]string
}

func (c *chain) Hear(ctx context.Context, m *Message) (all Reply, err error) {
	for key, value := range m.Metadata {
		if _, known := c.said[key]; !known {
			c.said[key] = value
		}
	}
	m.Metadata = c.said
	for _, h := range c.hearings {
		r, err := h.Hear(ctx, m)
		if err != nil {
			return Reply{Refusal: r.Refusal}, err // for filters that let failures pass
		}
		all.Metadata = append(all.Metadata, r.Metadata...)
		for _, d := range r.Metadata {
			if c.said[d.Key] = d.Text; d.Yes {
				c.said[d.Key] = "true"
			}
		}
		if r.Refusal != nil { // whoever has allowed: it does not count
			all.Metadata = slices.DeleteFunc(all.Metadata, func(d Metadatum) bool { return d.Key == envoy.MetaAllow })
			return Reply{Metadata: all.Metadata, Refusal: r.Refusal}, nil //nolint:nilerr // a refusal is an answer
		}
		all.Sent = cmp.Or(r.Sent, all.Sent)
		all.Remove, all.Set, all.Add = append(all.Remove, r.Remove...), append(all.Set, r.Set...), append(all.Add, r.Add...)
	}
	return all, nil
}

func (c *chain) Close() {
	for _, h := range c.hearings {
		h.Close()
	}
}
