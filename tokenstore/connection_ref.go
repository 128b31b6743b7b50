package tokenstore

import "github.com/athd/athd/ath"

// A ConnectionRef names a connection, and whose it is: the record opens for
// nobody else.
type ConnectionRef struct {
	Tag            ath.Tag
	Agent          string // "": the user's agents share it
	User, Provider string
	Epoch          string // of a shared one; see [Connection]
}

// binding is what a connection is sealed to beside its key. That of a shared one
// has no agent, which no grant and no other connection lacks; its destination is
// in its tag.
func (r ConnectionRef) binding() []string { return []string{r.Agent, r.User, r.Provider} }

// Ref names the connection that the grant stands on. A grant that does not say
// that it is shared opens none that is, and the other way round.
func (g *Grant) Ref() ConnectionRef {
	return ConnectionRef{Tag: g.Connection, Agent: g.connectionAgent(), User: g.User, Provider: g.Provider, Epoch: g.Epoch}
}

func (g *Grant) connectionAgent() string {
	if g.Shared {
		return ""
	}
	return g.Agent
}

// Ref names the connection that the session has ended in.
func (s *Session) Ref() ConnectionRef {
	r := ConnectionRef{Tag: s.Connection, Agent: s.AgentID, User: s.User, Provider: s.Provider}
	if s.Shared {
		r.Agent, r.Epoch = "", s.Epoch
	}
	return r
}

func (c *Connection) ref(tag ath.Tag) ConnectionRef {
	return ConnectionRef{Tag: tag, Agent: c.Agent, User: c.User, Provider: c.Provider, Epoch: c.Epoch}
}

// Shared reports whether the user's agents share the connection.
func (c *Connection) Shared() bool { return c.Agent == "" }
