// Package agent plays an AI agent that speaks ATH v0.1 as the clients in the
// field do: what they send, in their order, with their defaults. It knows
// nothing of athd's code, so that the two meet on the wire only.
//
//	a, err := agent.New("http://127.0.0.1:4000/agents/shopper.json", "Shopping Assistant")
//	http.Handle("/agents/shopper.json", a)      // its identity document
//	c := agent.NewClient(a, "http://127.0.0.1:8080")
//	registration, err := c.Register(ctx, "shop", []string{"products:read"})
package agent
