package tokenstore_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// The records of the fixtures: one of each kind in each of its states, the same
// in every fixture, so that what an earlier athd wrote can be compared with
// what was given to it.

// fixtureTime is when a fixture was written, by the store's clock.
var fixtureTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func fixtureTag(name string) ath.Tag { return ath.Tag((name + strings.Repeat("-", 16))[:16]) }

func fixtureKey(name string) string { return (name + strings.Repeat("-", 43))[:43] }

func fixtureToken(connection, name string) ath.Token {
	token, err := ath.ParseToken("ath_tk_" + string(fixtureTag(connection)) + "_" + fixtureKey(name))
	if err != nil {
		panic(err)
	}
	return token
}

func fixtureAgentID(name string) string { return "https://agents.example/" + name + ".json" }

func fixtureAgents() map[string]tokenstore.Agent {
	agent := func(name string, change func(*tokenstore.Agent)) tokenstore.Agent {
		a := tokenstore.Agent{
			ID: fixtureAgentID(name), ClientID: "ath_" + string(ath.AgentTag(fixtureAgentID(name))) + "_0123456789abcdefghijkl",
			SecretDigest: ath.DigestOf("ath_secret_" + name), Name: "Agent " + name,
			Developer: tokenstore.Developer{Name: "Dev <&> Söhne", ID: "dev-1", Contact: "a@b.example"}, Purpose: "to book",
			RedirectURIs: []string{"https://agents.example/cb", "https://agents.example/cb2"},
			Registered:   fixtureTime.Add(-time.Hour),
		}
		change(&a)
		return a
	}
	approve := func(a *tokenstore.Agent) {
		a.Approvals = []tokenstore.Approval{
			{Provider: "github", Approved: ath.Scopes{"repo", "gist"}, Denied: ath.Scopes{"admin"}, DenialReason: "too much"},
			{Provider: "shop", Pending: ath.Scopes{"orders:write"}},
		}
		a.ApprovalExpires = fixtureTime.Add(90 * 24 * time.Hour)
	}
	return map[string]tokenstore.Agent{
		"approved": agent("approved", approve),
		"pending": agent("pending", func(a *tokenstore.Agent) {
			a.Approvals = []tokenstore.Approval{{Provider: "shop", Pending: ath.Scopes{"orders:write"}}}
		}),
		"denied": agent("denied", func(a *tokenstore.Agent) {
			a.Approvals = []tokenstore.Approval{{Provider: "shop", Denied: ath.Scopes{"orders:write"}, DenialReason: "policy"}}
		}),
		"operator-denied": agent("operator-denied", func(a *tokenstore.Agent) {
			approve(a)
			a.Approvals[0].OperatorDenied = ath.Scopes{"admin"}
		}),
		"suspended": agent("suspended", func(a *tokenstore.Agent) {
			approve(a)
			a.Suspended, a.Generation = true, 2
		}),
		"bare": {ID: fixtureAgentID("bare"), ClientID: "ath_" + string(ath.AgentTag(fixtureAgentID("bare"))) + "_0123456789abcdefghijkl"},
	}
}

// fixturePhases are those that each session of the fixture went through.
var fixturePhases = map[string][]tokenstore.Phase{
	"started":   {tokenstore.Started},
	"redeeming": {tokenstore.Started, tokenstore.Redeeming},
	"consented": {tokenstore.Started, tokenstore.Redeeming, tokenstore.Consented},
	"refused":   {tokenstore.Started, tokenstore.Refused},
	"failed":    {tokenstore.Started, tokenstore.Redeeming, tokenstore.Failed},
	"consumed":  {tokenstore.Started, tokenstore.Redeeming, tokenstore.Consented, tokenstore.Consumed},
	"said":      {tokenstore.Started, tokenstore.Failed}, // with Upstream; not in f1b7ae5
	"stands":    {tokenstore.Started, tokenstore.Redeeming, tokenstore.Consented},
	"heals":     {tokenstore.Started},
	"shown":     {tokenstore.Started}, // as the two before, not in 058ce80 and earlier
}

func fixtureSession(name string, phase tokenstore.Phase) tokenstore.Session {
	agent := fixtureAgents()["approved"]
	s := tokenstore.Session{
		ID:    ath.NewSecret("ath_sess_" + string(fixtureTag(name)) + "_" + fixtureKey(name)),
		State: ath.DigestOf("state of " + name), AgentID: agent.ID, ClientID: agent.ClientID,
		Provider: "github", ProviderAs: "default", Requested: ath.Scopes{"repo", "gist"},
		AgentState: "agent's own <state> é", RedirectURI: "https://agents.example/cb", CallbackURL: "https://gw.example/ath/callback",
		Resource: "https://api.example", Verifier: ath.NewSecret(fixtureKey("verifier")), BrowserKey: ath.NewSecret(fixtureKey("browser")), Consent: "page",
		Phase: phase, Created: fixtureTime, Expires: fixtureTime.Add(10 * time.Minute),
	}
	if phase == tokenstore.Consented || phase == tokenstore.Consumed {
		s.User, s.Consented, s.Connection, s.Code, s.BadCodes = "user-1", ath.Scopes{"repo"}, fixtureTag("consented-conn"), ath.DigestOf("code of "+name), 2
	}
	switch {
	case name == "said" && phase == tokenstore.Failed:
		s.Upstream = "invalid_scope"
	case name == "stands":
		s.Renewal = fixtureTerms
	case name == "shown" && phase == tokenstore.Started:
		s.Shown = map[string]ath.RenewalTerms{"browser of shown": fixtureTerms}
	case name == "heals":
		s.Heals, s.Generation, s.User, s.Connection = true, 2, "user-2", fixtureTag("standing-conn")
	}
	return s
}

// fixtureIssuer is in no fixture from before there were issuers.
func fixtureIssuer() tokenstore.Issuer {
	return tokenstore.Issuer{
		Issuer: "https://login.example.com", Accepted: `{"issuer":"https://login.example.com"}`, First: "https://login.example.com/token",
		Moved: `{"issuer":"https://login.example.com"}`, MovedSince: fixtureTime, Asked: fixtureTime,
	}
}

// fixtureHosts are not in f1b7ae5.
func fixtureHosts() []tokenstore.HostSuspension {
	var hosts []tokenstore.HostSuspension
	for _, name := range []string{"bad.example", "*.worse.example"} {
		pattern, err := ath.ParseHostPattern(name)
		if err != nil {
			panic(err)
		}
		hosts = append(hosts, tokenstore.HostSuspension{Hosts: pattern, By: "ops", Since: fixtureTime})
	}
	return hosts
}

// fixtureQuota admits one registration for an address; not in f1b7ae5.
var fixtureQuota = tokenstore.PendingQuota{All: 10, Domain: 10, Address: 1, OfDomain: "agents.example", OfAddress: "198.51.100.7"}

func fixtureConnections() map[string]tokenstore.Connection {
	c := tokenstore.Connection{
		Agent: fixtureAgentID("approved"), User: "user-1", Provider: "github",
		Access: ath.NewSecret("gho_access"), Refresh: ath.NewSecret("ghr_refresh"), Expires: fixtureTime.Add(8 * time.Hour),
		Scopes: ath.Scopes{"repo"}, Created: fixtureTime, Destination: "https://api.github.example",
	}
	ended, bare := c, tokenstore.Connection{Agent: c.Agent, User: "user-1", Provider: "github", Access: ath.NewSecret("gho_bare")}
	ended.Ended = true
	return map[string]tokenstore.Connection{"conn": c, "ended-conn": ended, "consented-conn": bare, "revoked-conn": c}
}

type fixtureGrant struct {
	connection string
	grant      tokenstore.Grant
	revoked    bool
}

func fixtureGrants() map[string]fixtureGrant {
	agent := fixtureAgents()["approved"]
	grant := func(connection string, revoked bool, change func(*tokenstore.Grant)) fixtureGrant {
		g := tokenstore.Grant{
			Agent: agent.ID, ClientID: agent.ClientID, User: "user-1", Provider: "github", Scopes: ath.Scopes{"repo"},
			Connection: fixtureTag(connection), Issued: fixtureTime, Expires: fixtureTime.Add(time.Hour),
		}
		change(&g)
		return fixtureGrant{connection, g, revoked}
	}
	plain := func(*tokenstore.Grant) {}
	return map[string]fixtureGrant{
		"live":  grant("conn", false, plain),
		"other": grant("conn", true, plain),
		"bound": grant("ended-conn", false, func(g *tokenstore.Grant) {
			g.Thumbprint, g.Generation = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", 2
		}),
		"expired": grant("conn", false, func(g *tokenstore.Grant) {
			g.Issued, g.Expires = fixtureTime.Add(-2*time.Hour), fixtureTime.Add(-time.Hour)
		}),
		"last": grant("revoked-conn", true, plain),
	}
}

const fixtureJTI = "jti-1"

// writeFixtureRecords writes them all into an empty store.
func writeFixtureRecords(ctx context.Context, s *tokenstore.Store) error {
	var errs []error
	for _, a := range fixtureAgents() {
		errs = append(errs, s.CreateAgent(ctx, a))
	}
	for name, phases := range fixturePhases {
		errs = append(errs, s.CreateSession(ctx, fixtureTag(name), fixtureSession(name, phases[0])))
		held, err := s.Session(ctx, fixtureTag(name))
		errs = append(errs, err)
		for _, phase := range phases[1:] {
			held, err = s.SwapSession(ctx, held, fixtureSession(name, phase))
			errs = append(errs, err)
		}
	}
	for name, c := range fixtureConnections() {
		errs = append(errs, s.PutConnection(ctx, fixtureTag(name), c, fixtureTime.Add(10*time.Minute)))
	}
	for name, g := range fixtureGrants() {
		errs = append(errs, s.PutGrant(ctx, fixtureToken(g.connection, name), g.grant))
	}
	for name, g := range fixtureGrants() { // now, since a connection ends with its last grant
		if g.revoked {
			token := fixtureToken(g.connection, name)
			held, err := s.Grant(ctx, token)
			errs = append(errs, err, s.Revoke(ctx, held, fixtureTime))
		}
	}
	issuer, err := s.Issuer(ctx, fixtureIssuer().Issuer)
	errs = append(errs, err, s.SwapIssuer(ctx, issuer, fixtureIssuer()))
	held, err := s.HostSuspensions(ctx)
	errs = append(errs, err, s.SwapHostSuspensions(ctx, held, fixtureHosts()),
		s.ReservePending(ctx, fixtureTag("pending"), fixtureQuota),
		s.ReserveSession(ctx, fixtureTag("agent"), fixtureTag("open"), fixtureTime.Add(10*time.Minute), 1))
	first, err := s.Once(ctx, fixtureTag("jti"), "jti", fixtureJTI, time.Hour)
	if !first {
		errs = append(errs, errors.New("the jti was used before"))
	}
	return errors.Join(append(errs, err)...)
}
