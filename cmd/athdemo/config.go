package main

import (
	"bytes"
	"text/template"
)

// What the operator of the demo has set up.
const (
	appID        = "shop"
	providerID   = "market" // the same shop once more, as gateway mode has it
	addedID      = "bazaar" // and a third time, added while everything runs
	clientID     = "athd-demo"
	userName     = "alice"
	userID       = "user-1"
	userPassword = "wonderland" // shown to people: it opens nothing but the demo
)

// athdYAML is the configuration of athd, in the spelling of the ATH tutorial
// where it is about the app. The policy stands for an operator who has
// approved this agent, for less than it will ask for, and any agent that is
// tried out on this machine (athctl try) for the same.
const athdYAML = `# written by athdemo
public_url: {{.Public}}
consent_url: {{.Consent}} # the consent pages: a name that the shop does not share
listen:
  grpc: {{.GRPC}}
  http: {{.HTTP}}
  admin: {{.Admin}}
store:
  url: embedded
  keyset_file: keyset.json
providers_file: providers.json
apps:
- appId: ` + appID + `
  name: The Shop
  upstream: {{.Shop}}
  audience: {{.Public}}
  callbackUrl: {{.Public}}/ath/callback
  availableScopes: ["products:read", "cart:write", "orders:read", "orders:write"]
  oauth:
    issuer: {{.OAuth}}
    authorize_endpoint: {{.OAuth}}/authorize
    token_endpoint: {{.OAuth}}/token
    userinfo_endpoint: {{.OAuth}}/userinfo
    client_id: ` + clientID + `
    client_secret_file: client.secret
    retry_on_401: true # a token that the shop does not take is replaced, and the call sent again
admin:
  tokens:
  - {name: ops, token_file: admin.token, role: admin}
approval:
  default: deny
  rules:
  - agents: ["{{.Agents}}/*", "http://127.0.0.1:*/agent.json"]
    providers: [` + appID + `, ` + providerID + `, ` + addedID + `]
    scopes: ["products:read", "cart:write", "orders:read"]
    action: approve
    expires: 90d
consent: page
tokens:
  renewal: {max: 90d, idle: 30d} # one consent, as long as the page says
operator: {name: The demo, contact: operator@demo.example}
drain_delay: 0s # there is no other athd that could take over
envoy:
  listen: {{.EnvoyListen}}
  admin: {{.EnvoyAdmin}}
  streams: watched # what an agent holds open ends when its token does
development:
  allow_http: true
  allow_private_hosts: true
`

// providersJSON is the API in gateway mode: agents call it below
// /ath/proxy/market/, and it begins at the shop's /api.
const providersJSON = `{
  "` + providerID + `": {
    "display_name": "The Market",
    "available_scopes": ["products:read", "cart:write", "orders:read", "orders:write"],
    "issuer": "{{.OAuth}}",
    "authorize_endpoint": "{{.OAuth}}/authorize",
    "token_endpoint": "{{.OAuth}}/token",
    "userinfo_endpoint": "{{.OAuth}}/userinfo",
    "api_base_url": "{{.Shop}}/api",
    "client_id": "` + clientID + `",
    "client_secret": "{{.Secret}}"
  }
}
`

// addresses are what the configuration says of where things are.
type addresses struct {
	Public      string // URL of Envoy
	Consent     string // and of the consent pages, by another name of this machine
	EnvoyListen string // host:port
	EnvoyAdmin  string // host:port
	GRPC        string // unix:/path or host:port
	HTTP        string // host:port
	Admin       string // host:port
	OAuth       string // URL
	Shop        string // URL
	Agents      string // URL: where identity documents are
}

func (a addresses) yaml() ([]byte, error) { return filled(athdYAML, a) }

// providers is providers.json, with the client secret in it.
func (a addresses) providers(secret string) ([]byte, error) {
	return filled(providersJSON, struct {
		addresses
		Secret string
	}{a, secret})
}

func filled(form string, values any) ([]byte, error) {
	parsed, err := template.New("").Parse(form)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := parsed.Execute(&text, values); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}
