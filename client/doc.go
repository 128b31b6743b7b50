// Package client is a Go client of the Agent Trust Handshake v0.1 (ATH): with
// it an agent registers at a server such as athd, asks a user for consent, gets
// a token, and calls APIs.
//
//	c, err := client.New(client.Config{Server: "https://gateway.example.com", Agent: identity})
//	reply, err := c.Register(ctx, client.Registration{Provider: "github", Scopes: scopes})
//	authorization, err := c.Authorize(ctx, client.Consent{Provider: "github", Scopes: scopes})
//	// The user opens authorization.URL. The code comes back with the browser:
//	code, err := authorization.Code(request.URL.Query())
//	token, err := c.Exchange(ctx, authorization, code)
//	transport, err := c.Transport(token.Access, api)
//	reply, err := (&http.Client{Transport: transport}).Get(api + "/user")
//
// An [Access] in the place of the transport goes on for as long as the user's
// consent lasts: it renews the token (T-8), has the user heal a grant that the
// provider has ended (P-10), and asks for more scopes (P-11), as far as it is
// told to:
//
//	access, err := c.Access(client.AccessConfig{Token: *token, API: api, Keep: keep, Heal: show})
//	reply, err := (&http.Client{Transport: access}).Get(api + "/user")
//
// What a server refuses is an [*Error], with a code to act on; [CodeOf] reads
// it. A [Client] may be used by several goroutines. It follows no redirect,
// reads no more than a megabyte of any reply, and waits for none longer than
// its timeout. Secrets are of type [ath.Secret] and do not print.
//
// The rules that the comments name (A-3, Z-1, P-9) are those of
// docs/protocol.md.
package client
