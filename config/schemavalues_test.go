package config

import (
	"slices"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/provider"
)

// A schemaValue is what is known of a key's value beside its type. The loader
// decides; whatever it takes this must take, too.
type schemaValue struct {
	enum        []any  // what a text may be
	pattern     string // all of what a text may be, for ECMA-262 as for Go
	neverNumber bool   // YAML's numbers and booleans are no such text

	least, most *int // of a number

	optional     bool // required by the documentation, but there is another way to say it
	notEmpty     bool // a list that is there has an entry
	notEmptyText bool // a text that is there is not empty, though it need not be there

	maybeEmpty bool // a text of a list may be empty

	object func(*schemaNode) // adds to the schema of an object; its path ends with a dot
}

const (
	schemaDuration = `([0-9]+d)?\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*0?`
	schemaHostPort = `[^/ %\t]*:[0-9]{1,5}`
	schemaAddress  = `unix:/.+|` + schemaHostPort
	// A network, an address, or an address and a port.
	schemaAddresses = `[0-9A-Fa-f.:\[\]]+(/[0-9]{1,3})?`
	schemaOrigin    = `https?://[^/?#@\s]+`
	schemaURL       = `https?://[^\s#]+`
	schemaScope     = `[!#-+\--\[\]-~]{1,256}`
	schemaAppID     = `[A-Za-z0-9][A-Za-z0-9._-]{0,126}`
)

func oneOf(values ...string) schemaValue {
	v := schemaValue{neverNumber: true}
	for _, value := range values {
		v.enum = append(v.enum, value)
	}
	return v
}

func pattern(of string) schemaValue { return schemaValue{pattern: of, neverNumber: true} }

func between(least, most int) schemaValue { return schemaValue{least: &least, most: &most} }

// together says of keys that they are given all or none.
func together(keys ...string) schemaValue {
	return schemaValue{object: func(n *schemaNode) {
		given := &schemaNode{}
		for _, key := range keys {
			given.AnyOf = append(given.AnyOf, &schemaNode{Required: []string{key},
				Properties: schemaProperties{{key, &schemaNode{Not: &schemaNode{Enum: []any{nil, "", []any{}}}}}}})
		}
		n.If, n.Then = given, &schemaNode{Required: keys}
	}}
}

// either says that at least one of two keys is there.
func either(a, b string) schemaValue {
	return schemaValue{object: func(n *schemaNode) {
		n.Type = schemaTypes{"object"}
		n.AnyOf = []*schemaNode{{Required: []string{a}}, {Required: []string{b}}}
	}}
}

// issuerOrEndpoints says that the issuer names the endpoints, or they are written.
func issuerOrEndpoints(authorize, token []string) schemaValue {
	return schemaValue{object: func(n *schemaNode) {
		n.Type = schemaTypes{"object"}
		any := []*schemaNode{{Required: []string{"issuer"}}}
		for _, a := range authorize {
			for _, t := range token {
				any = append(any, &schemaNode{Required: []string{a, t}})
			}
		}
		n.AllOf = append(n.AllOf, &schemaNode{AnyOf: any})
	}}
}

var presets = func() (names []string) {
	for _, p := range provider.Presets() {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return append(names, none)
}()

// schemaValues has the values of keys, by the names of docs/configuration.md.
// Fields of providers.json that apps have, too, have those of apps, unless they
// are below "providers.".
var schemaValues = map[string]schemaValue{
	"":                    either("providers_file", "apps"),
	"public_url":          pattern(schemaOrigin),
	"consent_url":         pattern(schemaOrigin),
	"listen.grpc":         pattern(schemaAddress),
	"listen.http":         pattern(schemaAddress),
	"listen.admin":        pattern(schemaAddress),
	"listen.tls.":         together("cert_file", "key_file", "client_ca_file", "client_sans"),
	"store.":              either("url", "url_file"),
	"store.url":           {pattern: `embedded|rediss?(\+cluster|\+sentinel)?://.+|unix:///.+`, neverNumber: true, optional: true},
	"store.timeout":       pattern(schemaDuration),
	"store.keyset_file":   {optional: true},
	"store.keyset":        {optional: true},
	"store.wait_replicas": between(0, maxReplicas),

	"apps[].app_id":                {pattern: schemaAppID},
	"apps[].provider_id":           {pattern: schemaAppID, notEmptyText: true},
	"apps[].aliases":               {pattern: schemaAppID},
	"apps[].upstream":              pattern(`(h2c|https?)://[^\s#?]+`),
	"apps[].path_prefix":           pattern(`/.*`),
	"apps[].audience":              pattern(schemaURL),
	"apps[].api_base":              pattern(schemaURL),
	"apps[].callback_url":          pattern(schemaURL),
	"apps[].categories":            {maybeEmpty: true},
	"apps[].available_scopes":      {pattern: schemaScope},
	"apps[].scope_rules[].methods": oneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
	"apps[].scope_rules[].upgrade": oneOf(provider.WebSocket),
	"apps[].scope_rules[].paths":   pattern(`/.*`),
	"apps[].allow_encoded":         oneOf("#", "?", "%"),
	"apps[].unauthenticated":       oneOf("deny", "passthrough"),
	"apps[].renewal":               oneOf("off"),
	"apps[].renewal.max":           pattern(schemaDuration),
	"apps[].renewal.idle":          pattern(schemaDuration),

	"apps[].oauth.": issuerOrEndpoints([]string{"authorize_endpoint", "authorizeEndpoint"}, []string{"token_endpoint", "tokenEndpoint"}),
	"providers.":    issuerOrEndpoints([]string{"authorize_endpoint"}, []string{"token_endpoint"}),

	"apps[].oauth.extra_scopes":       {pattern: schemaScope, maybeEmpty: true},
	"apps[].oauth.resource":           pattern(schemaURL),
	"apps[].oauth.authorize_endpoint": pattern(schemaURL),
	"apps[].oauth.token_endpoint":     pattern(schemaURL),
	"apps[].oauth.userinfo_endpoint":  pattern(schemaURL),
	"apps[].oauth.issuer":             pattern(schemaURL),
	"apps[].oauth.token_auth_method":  oneOf(string(provider.ClientSecretPost), string(provider.ClientSecretBasic), string(provider.NoClientAuth)),
	"apps[].oauth.scope_separator":    {enum: []any{" ", ","}, neverNumber: true, notEmptyText: true},
	"apps[].oauth.grants":             oneOf(provider.GrantsPerConsent, provider.GrantsPerUser),
	"apps[].oauth.empty_scope":        oneOf(provider.EmptyAsNothing, provider.EmptyAsRequested),
	"apps[].oauth.token_kind":         oneOf("user", "bot"),
	"apps[].oauth.preset":             oneOf(presets...),
	"apps[].oauth.denied_errors":      {pattern: `[A-Za-z0-9_.-]{1,64}`},

	"apps[].oauth.refresh_margin":            {pattern: `([0-9.]+(ns|us|µs|ms|s|m|h))+|0`}, // 0 is a number to YAML
	"apps[].oauth.refresh_idle":              pattern(`never|` + schemaDuration),
	"apps[].oauth.refresh_token_auth_method": oneOf(string(provider.ClientSecretPost), string(provider.ClientSecretBasic), string(provider.NoClientAuth)),
	"apps[].oauth.refresh_denied_errors":     {pattern: `[A-Za-z0-9_.-]{1,64}`},
	"providers.api_base_url":                 pattern(`https?://[^\s#?]+`),

	"operator.contact":            pattern(`[^\s@:]+@[^\s@:]+|mailto:[^\s@]+@[^\s@]+|https://\S+`),
	"agents[].agent_id":           pattern(schemaURL),
	"approval.default":            oneOf(string(approval.Approve), string(approval.Review), string(approval.Deny)),
	"approval.rules[].action":     oneOf(string(approval.Approve), string(approval.Review), string(approval.Deny)),
	"approval.rules[].agents":     {notEmpty: true},
	"approval.rules[].hosts":      {notEmpty: true},
	"approval.rules[].developers": {notEmpty: true},
	"approval.rules[].providers":  {notEmpty: true},
	"approval.rules[].scopes":     {notEmpty: true},
	"approval.rules[].expires":    pattern(schemaDuration),

	"tokens.ttl":            pattern(schemaDuration),
	"tokens.remember_ended": pattern(schemaDuration),
	"tokens.renewal":        oneOf("off"),
	"tokens.renewal.max":    pattern(schemaDuration),
	"tokens.renewal.idle":   pattern(schemaDuration),
	"sessions.ttl":          pattern(schemaDuration),
	"callback":              oneOf("shared", "per_provider"),
	"consent":               oneOf(athflow.ConsentPage, athflow.ConsentRedirect, athflow.ConsentDirect),
	"drain_delay":           pattern(schemaDuration),

	"limits.per_address":               pattern(schemaRate),
	"limits.registrations_per_address": pattern(schemaRate),
	"limits.per_agent":                 pattern(schemaRate),
	"limits.calls_per_grant":           pattern(schemaRate),
	"limits.concurrent":                between(2, maxCount),
	"limits.concurrent_per_address":    between(1, maxCount),
	"limits.connections":               between(1, maxCount),
	"limits.streams.per_grant":         between(1, maxCount),
	"limits.streams.per_agent":         between(1, maxCount),
	"limits.streams.total":             between(1, maxCount),
	"limits.pending":                   between(1, maxCount),
	"limits.pending_per_domain":        between(1, maxCount),
	"limits.pending_per_address":       between(1, maxCount),
	"limits.sessions_per_agent":        between(1, maxCount),

	"admin.tokens[].role":    oneOf("viewer", "approver", "admin"),
	"admin.tokens[].expires": pattern(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{1,2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+\-][0-9]{2}:[0-9]{2})`),

	"envoy.listen":          pattern(schemaHostPort),
	"envoy.admin":           pattern(none + `|` + schemaHostPort),
	"envoy.athd_grpc":       pattern(schemaAddress),
	"envoy.athd_http":       pattern(schemaAddress),
	"envoy.tls[].":          together("cert_file", "key_file"),
	"envoy.athd_tls.":       together("cert_file", "key_file", "ca_file", "server_name"),
	"envoy.destination":     oneOf(DestinationByRoute, DestinationByHostAndPath),
	"envoy.filter":          oneOf("ext_authz", "ext_proc"),
	"envoy.streams":         oneOf("bounded", "watched"),
	"envoy.streams_on_loss": oneOf("end", "keep"),
	"envoy.replies":         oneOf("cleared", "checked"),
	"envoy.trusted_hops":    between(0, maxTrustedHops),

	"egress.allow":             pattern(schemaAddresses),
	"egress.allow[].addresses": pattern(schemaAddresses),
	"egress.allow[].port":      between(1, 65535),
	"cors.allowed_origins":     pattern(schemaOrigin),

	"log.format":     oneOf("text", "json"),
	"log.level":      oneOf("debug", "info", "warn", "error"),
	"audit.max_size": pattern(schemaSize),
	"audit.keep":     between(1, maxAuditKeep),

	"runtime.max_procs":    between(1, maxProcs),
	"runtime.gc_percent":   between(minGCPercent, maxGCPercent),
	"runtime.memory_limit": pattern(schemaSize),
}

const (
	schemaRate = `off|[0-9]+/[smh]`
	schemaSize = `[0-9]+(KiB|MiB|GiB)`
)
