// Package refresh takes processes, Redis and the provider away while users' tokens
// are refreshed: athd as it is built, asked as Envoy asks it, on a real Redis.
// make chaos-refresh runs many rounds of it.
package refresh

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

func TestMain(m *testing.M) { stage.Main(m) }

const (
	athds   = 3
	agentID = "https://agents.example/travel.json"
	api     = "http://api.shop.example"
)

// A crew is some athd on one store, and the token endpoint that they share.
type crew struct {
	*stage.Replicas
	t        *testing.T
	endpoint *endpoint
	athd     []*member
	store    *tokenstore.Store
	agent    tokenstore.Agent
}

// A member is one athd process.
type member struct {
	*stage.Athd
	secret string // its client secret: the endpoint tells it apart by that
	checks authv3.AuthorizationClient
}

const configuration = `public_url: http://127.0.0.1:8080
listen: {grpc: "{{.GRPC}}", http: "{{.HTTP}}", admin: "{{.Admin}}"}
store: { {{.Store}}, keyset_file: ../keyset.json}
apps:
- app_id: shop
  upstream: {{.API}}
  available_scopes: ["products:read"]
  scope_rules: [{scope: "products:read", methods: [GET], paths: [/**]}]
  oauth: {authorize_endpoint: "{{.Endpoint}}", token_endpoint: "{{.Endpoint}}", client_id: athd, client_secret: {{.Secret}}}
approval: {default: approve}
log: {format: json, level: warn}
development: {allow_http: true, allow_private_hosts: true}
`

// newCrew starts them. yaml is what their store: is, beside the keyset.
func newCrew(t *testing.T, yaml string, on tokenstore.Config) *crew {
	t.Helper()
	c := &crew{Replicas: stage.NewReplicas(t, athds, 0), t: t, endpoint: newEndpoint(t)}
	on.Timeout = 5 * time.Second
	c.store = c.Open(t, on)
	for i := range athds {
		m := &member{secret: fmt.Sprintf("secret-%d-%s", i, rand.Text())}
		leak.Of(t).Secret("a client secret", m.secret)
		c.Configure(i, configuration, map[string]any{"Store": yaml, "API": api, "Endpoint": c.endpoint.url, "Secret": m.secret})
		c.Start(i)
		m.Athd = c.Athd[i]
		conn, err := grpc.NewClient(c.GRPC[i], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		m.checks = authv3.NewAuthorizationClient(conn)
		c.athd = append(c.athd, m)
	}
	c.agent = stage.RegisteredAgent(agentID, ath.Scopes{"products:read"}, "shop")
	if err := c.store.CreateAgent(t.Context(), c.agent); err != nil {
		t.Fatal(err)
	}
	return c
}

// A user is one connection, and the ATH token by which it is used.
type user struct {
	token   ath.Token
	ref     tokenstore.ConnectionRef
	first   tokenstore.Connection
	expires time.Time
}

// connect stores a user's grant whose access token, of an hour, ends after left.
func (c *crew) connect(left time.Duration) *user {
	c.t.Helper()
	x := stage.NewConsent(c.agent, "shop", c.endpoint.url+" athd "+api)
	x.Connection.Access, x.Connection.Refresh = ath.NewSecret("access-"+rand.Text()), ath.NewSecret(c.endpoint.grant())
	x.Connection.Expires = time.Now().Add(left)
	x.Connection.Created = x.Connection.Expires.Add(-time.Hour)
	if err := x.Put(c.t, c.store); err != nil {
		c.t.Fatal(err)
	}
	return &user{x.Token, x.Ref(), x.Connection, x.Connection.Expires}
}

// renewed reports whether a user has a new access token, and a refresh token that
// the provider takes.
func (c *crew) renewed(u *user) bool {
	state, err := c.store.RefreshState(c.t.Context(), u.ref)
	if err != nil {
		return false // Redis is away
	}
	now := &state.Connection
	return !now.Access.Equal(u.first.Access.Reveal()) && c.endpoint.good(now.Refresh.Reveal())
}
