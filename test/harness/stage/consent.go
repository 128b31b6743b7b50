package stage

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/tokenstore"
)

// UserToken is what a provider gave for a user, as long as such tokens are.
const UserToken = "gho_16C7e42F292c6912E7710c838347Ae178B4a"

// A Consent is what a handshake leaves behind: a user's connection, and a token that an
// agent has for it. A test may change what is special to it before it is stored.
type Consent struct {
	Token      ath.Token
	Connection tokenstore.Connection
	Grant      tokenstore.Grant
	// Renewal is that of a consent that stands, on Terms; without Terms there is none.
	Renewal ath.RenewalToken
	Terms   ath.RenewalTerms
}

// RegisteredAgent is an agent that may have these scopes of these providers.
func RegisteredAgent(id string, scopes ath.Scopes, providers ...string) tokenstore.Agent {
	now := time.Now()
	a := tokenstore.Agent{
		ID: id, ClientID: ath.NewClientIDOf(ath.AgentTag(id)).String(), Name: "An agent", Purpose: "Calls.",
		Developer: tokenstore.Developer{Name: "Agents Inc.", ID: "https://agents.example"}, RedirectURIs: []string{"https://agents.example/callback"},
		ApprovalExpires: now.Add(24 * time.Hour), Registered: now,
	}
	for _, p := range providers {
		a.Approvals = append(a.Approvals, tokenstore.Approval{Provider: p, Approved: scopes})
	}
	return a
}

// NewConsent is a new user's, of whom the agent has all that its registration allows. The
// connection and the token are for an hour; destination is where the user agreed that
// [UserToken] goes.
func NewConsent(a tokenstore.Agent, provider, destination string) *Consent {
	now, tag := time.Now(), ath.NewTag()
	c := &Consent{
		Token: ath.NewToken(tag), Renewal: ath.NewRenewalToken(tag),
		Connection: tokenstore.Connection{
			Agent: a.ID, User: "user-" + string(ath.NewTag()), Provider: provider, Access: ath.NewSecret(UserToken), Created: now, Destination: destination,
		},
		Grant: tokenstore.Grant{Agent: a.ID, ClientID: a.ClientID, Provider: provider, Connection: tag, Issued: now, Expires: now.Add(time.Hour)},
	}
	for _, may := range a.Approvals {
		if may.Provider == provider {
			c.Connection.Scopes, c.Grant.Scopes = may.Approved, may.Approved
		}
	}
	c.Grant.User = c.Connection.User
	return c
}

// Ref names the connection.
func (c *Consent) Ref() tokenstore.ConnectionRef {
	return tokenstore.ConnectionRef{Tag: c.Token.Tag(), Agent: c.Connection.Agent, User: c.Connection.User, Provider: c.Connection.Provider}
}

// Put stores it, and has its secrets looked for.
func (c *Consent) Put(t testing.TB, store *tokenstore.Store) error {
	watch := leak.Of(t)
	watch.Secret("an agent's token", c.Token.Secret().Reveal())
	watch.Secret("a user's access token", c.Connection.Access.Reveal())
	watch.Secret("a user's refresh token", c.Connection.Refresh.Reveal())
	if err := store.PutConnection(t.Context(), c.Token.Tag(), c.Connection, time.Now().Add(time.Hour)); err != nil {
		return err
	}
	if c.Terms.IsZero() {
		return store.PutGrant(t.Context(), c.Token, c.Grant)
	}
	watch.Secret("an agent's renewal token", c.Renewal.Secret().Reveal())
	g := c.Grant
	g.Renewal = c.Renewal.Digest()
	return store.PutRenewal(t.Context(), c.Renewal, tokenstore.Renewal{
		Agent: g.Agent, ClientID: g.ClientID, User: g.User, Provider: g.Provider, Scopes: g.Scopes, Connection: g.Connection,
		Terms: c.Terms, Issued: g.Issued, Used: g.Issued,
	}, c.Token, g)
}
