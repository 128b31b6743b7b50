package tokenstore

import "context"

// forgetChanged drops decrypted records as they change, on every athd: a user's
// tokens do not stay in the memory of those that have not been asked since.
// A read that was under way just then may put one back, which stays until it is
// idle. Nothing depends on it, since every decision reads the store.
func (s *Store) forgetChanged(ctx context.Context) {
	w := s.Watch()
	defer w.Close()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return
		}
		s.forgetChange(c)
	}
}

func (s *Store) forgetChange(c Change) {
	switch c.Kind {
	case AgentChanged:
		if key, err := key(c.Tag, string(agentKind)); err == nil {
			s.agents.drop(key)
		}
	case GrantEnded:
		if key, err := key(c.Tag, string(grantKind), c.Digest.String()); err == nil {
			s.grants.drop(key)
		}
	case ConnectionEnded:
		if key, err := key(c.Tag, string(connectionKind)); err == nil {
			s.connections.drop(key)
		}
	case Everything:
		s.agents.dropAll()
		s.grants.dropAll()
		s.connections.dropAll()
	}
}

// drop forgets one record.
func (c *decryptCache[T]) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
}

// dropAll forgets all of them.
func (c *decryptCache[T]) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Back(); e != nil; e = c.recent.Back() {
		c.remove(e)
	}
}
