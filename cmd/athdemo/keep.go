package main

import (
	"context"
	"encoding/json"
	"strings"
	"text/template"

	"github.com/athd/athd/client"
)

// handover is what --keep prints: where things are, and commands to paste.
const handover = `
Everything stays up until Ctrl-C. The agent has a fresh token, for products:read and cart:write.

Addresses
  {{.Public}}      Envoy: what agents and browsers see
  {{.Consent}}      the same Envoy: the consent pages, and nothing else
  http://{{.Admin}}      athd's admin listener: /readyz, /metrics
  http://{{.EnvoyAdmin}}      Envoy's admin interface
  {{.OAuth}}      OAuth server: log in as ` + userName + `, password ` + userPassword + `
  {{.Shop}}      the shop itself: refuses everybody without an OAuth token

Files
  {{.Dir}}/athd.yaml        athd's configuration
  {{.Dir}}/envoy.yaml       Envoy's, printed by athd bootstrap
  {{.Dir}}/athd.log         athd's log, with an event for every decision
  {{.Dir}}/envoy.log
  {{.Dir}}/agent.json       the agent's identity document
  {{.Dir}}/agent.key        its private key
  {{.Dir}}/client.json      its client_id and client_secret
  {{.Dir}}/agent.token      its ATH token

Be the user yourself: within ten minutes, open in your own browser the link that this prints.
It ends with a code for the demo's agent, which you need not pass on
  cat {{.Dir}}/consent.link

Commands to paste
  TOKEN=$(cat {{.Dir}}/agent.token)
  AGENT={{.AgentID}}

  # allowed
  curl -i -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: $AGENT" {{.Public}}/api/products
  curl -i -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: $AGENT" -H "Content-Type: application/json" -d '{"product_id":"tea","quantity":2}' {{.Public}}/api/cart/add

  # streamed, event by event; with ?follow until the operator takes the token away (below, in another terminal)
  curl -N -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: $AGENT" {{.Public}}/api/products/events
  curl -N -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: $AGENT" "{{.Public}}/api/products/events?follow"

  # refused: outside the scopes; as another agent; without a token
  curl -i -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: $AGENT" {{.Public}}/api/orders
  curl -i -H "Authorization: Bearer $TOKEN" -H "X-ATH-Agent-ID: https://somebody.example/agent.json" {{.Public}}/api/products
  curl -i {{.Public}}/api/products

  # be an agent of your own, with a key of its own, in native and in gateway mode: docs/agents.md
  .tools/build/athctl try run --server {{.Public}} --state {{.Dir}}/you.json --serve 127.0.0.1:0 --provider ` + appID + ` --call "GET /api/products"
  .tools/build/athctl try run --server {{.Public}} --state {{.Dir}}/you2.json --serve 127.0.0.1:0 --provider ` + providerID + ` --call "GET /products"

  # the operator adds a provider while everything runs, an agent uses it at once, and the operator removes it
  .tools/build/athctl providers add ` + addedID + ` --server {{.Public}} --token-file {{.Dir}}/admin.token --secret-file {{.Dir}}/client.secret display_name="The Bazaar" available_scopes=products:read issuer={{.OAuth}} authorize_endpoint={{.OAuth}}/authorize token_endpoint={{.OAuth}}/token userinfo_endpoint={{.OAuth}}/userinfo api_base_url={{.Shop}}/api client_id=` + clientID + `
  .tools/build/athctl try run --server {{.Public}} --state {{.Dir}}/you3.json --serve 127.0.0.1:0 --provider ` + addedID + ` --call "GET /products"
  .tools/build/athctl providers remove ` + addedID + ` --yes --server {{.Public}} --token-file {{.Dir}}/admin.token

  # the shop itself does not know the agent's token
  curl -i -H "Authorization: Bearer $TOKEN" {{.Shop}}/api/products

  # the operator takes the token away: then try the first command again
  curl -i -H "X-ATH-User-Token: $(cat {{.Dir}}/admin.token)" -H "Content-Type: application/json" -d "{\"token\":\"$TOKEN\"}" {{.Public}}/ath/revoke
`

// handOver gets the agent a new token, writes down what the agent has, and
// prints how to go on by hand.
func (w *walk) handOver(ctx context.Context) error {
	w.quiet = true
	if err := w.authorize(ctx); err != nil {
		return err
	}
	if err := w.writeAgent(); err != nil {
		return err
	}
	another, err := w.client.Authorize(ctx, client.Consent{Provider: appID, Scopes: w.approved})
	if err != nil {
		return err
	}
	if err := w.write("consent.link", []byte(another.URL+"\n")); err != nil {
		return err
	}
	text, err := template.New("handover").Parse(handover)
	if err != nil {
		return err
	}
	var printed strings.Builder
	err = text.Execute(&printed, struct {
		addresses
		Dir, AgentID string
	}{w.addresses, w.dir, w.agent.ID()})
	if err != nil {
		return err
	}
	w.out.Line("%s", printed.String())
	return nil
}

// writeAgent writes the agent's files, which end with the stage.
func (w *walk) writeAgent() error {
	document, err := w.agent.Document()
	if err != nil {
		return err
	}
	key, err := client.EncodeKey(w.agentKey)
	if err != nil {
		return err
	}
	own := w.client.Credentials()
	credentials, err := json.MarshalIndent(map[string]string{"client_id": own.ClientID, "client_secret": own.Secret.Reveal()}, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"agent.json": document, "agent.key": []byte(key.Reveal()), "client.json": credentials, "agent.token": []byte(w.token.Reveal()),
	} {
		if err := w.write(name, content); err != nil {
			return err
		}
	}
	return nil
}
