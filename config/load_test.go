package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/config/schema"
)

func sources(m configtest.Machine) Sources {
	return Sources{Env: m.Env, ReadFile: m.ReadFile, Now: func() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }}
}

func TestConfigurationFaultsNameKeyAndLine(t *testing.T) {
	const app = `app_id: shop, upstream: 'http://127.0.0.1:3000', available_scopes: [products:read], oauth: {authorize_endpoint: https://l.example.com/a, token_endpoint: https://l.example.com/t, client_id: i, client_secret: s}`
	type set = map[string]string
	editor := newJudge(t, schema.Config())
	for _, test := range []struct {
		name  string
		parts set
		want  string // of the only fault; "": none
	}{
		{"the least is enough", set{}, ""},

		{"public_url is required", set{"public_url": ""}, "1:1: public_url: is missing"},
		{"public_url is absolute", set{"public_url": "gateway.example.com"}, "1:1: public_url: want an absolute URL"},
		{"public_url is http or https", set{"public_url": "ftp://gateway.example.com"}, "1:1: public_url: want an absolute URL"},
		{"public_url has a host", set{"public_url": "https://:443"}, "1:1: public_url: want an absolute URL"},
		{"public_url has no path", set{"public_url": "https://gateway.example.com/ath"}, "1:1: public_url: want a URL of scheme and host only"},
		{"public_url has no trailing slash", set{"public_url": "https://gateway.example.com/"}, "1:1: public_url: want a URL of scheme and host only"},
		{"public_url has no query", set{"public_url": "https://gateway.example.com?"}, "1:1: public_url: want a URL of scheme and host only"},
		{"public_url has no fragment", set{"public_url": "'https://gateway.example.com#'"}, "1:1: public_url: want a URL of scheme and host only"},
		{"public_url has no user", set{"public_url": "https://hunter2@gateway.example.com"}, "1:1: public_url: want a URL without user information"},
		{"public_url is in lower case", set{"public_url": "https://Gateway.example.com"}, "1:1: public_url: want scheme and host in lower case"},
		{"public_url's port is a port", set{"public_url": "https://gateway.example.com:65536"}, "1:1: public_url: want a port"},
		{"http is for loopback", set{"public_url": "http://gateway.example.com"}, "1:1: public_url: http is for loopback hosts only"},
		{"http on localhost", set{"public_url": "http://localhost:8080"}, ""},
		{"http on a loopback address", set{"public_url": "'http://[::1]:8080'"}, ""},
		{"http anywhere is a development option", set{"public_url": "http://gateway.example.com", "development": "{allow_http: true}"}, ""},
		{"variables expand", set{"public_url": "https://${HOST}"}, ""},
		{"variables must be set", set{"public_url": "https://${NOBODY}"}, "1:13: environment variable NOBODY is not set"},

		{"all of the Go runtime's keys", set{"runtime": "{max_procs: 1, gc_percent: 10, memory_limit: 64MiB}"}, ""},
		{"a processor at least", set{"runtime": "{max_procs: 0}"}, "5:11: runtime.max_procs: want a number of processors from 1 to 1024"},
		{"processors that exist", set{"runtime": "{max_procs: 1025}"}, "5:11: runtime.max_procs: want a number of processors from 1 to 1024"},
		{"garbage is collected", set{"runtime": "{gc_percent: -1}"}, "5:11: runtime.gc_percent: want a percentage from 10 to 10000"},
		{"garbage has an end", set{"runtime": "{gc_percent: 10001}"}, "5:11: runtime.gc_percent: want a percentage from 10 to 10000"},
		{"memory to live in", set{"runtime": "{memory_limit: 63MiB}"}, "5:11: runtime.memory_limit: want 64MiB at least"},
		{"memory is a size", set{"runtime": "{memory_limit: much}"}, "5:11: runtime.memory_limit: "},

		{"a wrong type", set{"providers_file": "[a]"}, "3:17: want text, got a list"},
		{"a feature that does not exist yet", set{"store": "{url: embedded, cache_grants: 1}"}, `2:24: unknown key "cache_grants"`},

		{"grpc on a socket", set{"listen": "{grpc: 'unix:/run/athd/a.sock'}"}, ""},
		{"a socket's path is absolute", set{"listen": "{grpc: 'unix:athd.sock'}"}, "2:10: listen.grpc: want unix: and an absolute path"},
		{"a socket's path is clean", set{"listen": "{grpc: 'unix:/run/../athd.sock'}"}, "2:10: listen.grpc: want unix: and an absolute path"},
		{"a socket's path is short", set{"listen": "{grpc: 'unix:/" + strings.Repeat("a", 107) + "'}"}, "2:10: listen.grpc: the path of a Unix socket has at most 107 bytes"},
		{"an address has a port", set{"listen": "{http: 127.0.0.1}"}, "2:10: listen.http: want host:port"},
		{"a port is a number", set{"listen": "{http: '127.0.0.1:http'}"}, "2:10: listen.http: want a port between 0 and 65535"},
		{"a port is small", set{"listen": "{admin: '127.0.0.1:65536'}"}, "2:10: listen.admin: want a port between 0 and 65535"},
		{"port 0", set{"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0'}"}, ""},
		{"two listeners at one address", set{"listen": "{http: '127.0.0.1:9002'}"}, "2:1: listen.admin: is the same address as listen.http"},
		{"an open grpc listener", set{"listen": "{grpc: '10.0.0.1:9001'}"}, "2:10: listen.grpc: the answers hold users' tokens"},
		{"a grpc listener on every interface", set{"listen": "{grpc: '[::]:9001'}"}, "2:10: listen.grpc: the answers hold users' tokens"},
		{"a grpc listener on a name", set{"listen": "{grpc: 'athd:9001'}"}, "2:10: listen.grpc: the answers hold users' tokens"},
		{"an open companion", set{"listen": "{http: '0.0.0.0:9000'}"}, ""},
		{"the loud exception", set{"listen": "{grpc: '0.0.0.0:9001', insecure_grpc_without_client_auth: true}"}, ""},
		{"the exception is not for nothing", set{"listen": "{insecure_grpc_without_client_auth: true}"}, "2:10: listen.insecure_grpc_without_client_auth: has no effect"},
		{"mutual TLS", set{"listen": "{grpc: '0.0.0.0:9001', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, ""},
		{"mutual TLS with the exception", set{"listen": "{grpc: '0.0.0.0:9001', insecure_grpc_without_client_auth: true, tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, "contradicts listen.tls"},
		{"TLS without a key", set{"listen": "{tls: {cert_file: cert.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, "2:10: listen.tls.key_file: is missing"},
		{"TLS without a client CA", set{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_sans: [envoy]}}"}, "2:10: listen.tls.client_ca_file: is missing"},
		{"TLS without names", set{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}}"}, "2:10: listen.tls.client_sans: is missing"},
		{"TLS with an empty name", set{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: ['']}}"}, "listen.tls.client_sans[0]: want a DNS name or a URI"},
		{"TLS with another key", set{"listen": "{tls: {cert_file: cert.pem, key_file: otherkey.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, "listen.tls.cert_file: does not fit its key"},
		{"TLS with no certificate", set{"listen": "{tls: {cert_file: gone.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, "listen.tls.cert_file: cannot be read"},
		{"TLS with a CA that is none", set{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: key.pem, client_sans: [envoy]}}"}, "listen.tls.client_ca_file: holds no certificate in PEM"},

		{"store.url is required", set{"store": ""}, "store.url: is missing"},
		{"store.url is of Redis", set{"store": "{url: 'http://127.0.0.1', keyset_file: keyset.json}"}, "2:9: store.url: store url must start with redis://"},
		{"store.url has a host", set{"store": "{url: 'redis:///0', keyset_file: keyset.json}"}, "2:9: store.url: store url has no host"},
		{"Redis with a keyset", set{"store": "{url: 'rediss://u:hunter2@redis.example.com/0', keyset_file: keyset.json}"}, ""},
		{"store.url from a file", set{"store": "{url_file: redis.url, keyset_file: keyset.json}"}, ""},
		{"store.url twice", set{"store": "{url: embedded, url_file: redis.url}"}, "2:24: store.url_file: store.url is given too"},
		{"Sentinels", set{"store": "{url: 'rediss+sentinel://u:hunter2@a,b:1/main', keyset_file: keyset.json, sentinel_password_file: redis.url, wait_replicas: 1, timeout: 300ms}"}, ""},
		{"a Sentinel's password twice", set{"store": "{url: 'redis+sentinel://localhost/main', sentinel_password: hunter2, sentinel_password_file: redis.url, keyset_file: keyset.json}"}, "2:77: store.sentinel_password_file: store.sentinel_password is given too"},
		{"a Sentinel's password without Sentinels", set{"store": "{url: embedded, sentinel_password: hunter2}"}, "2:24: store.sentinel_password: has no effect"},
		{"a Sentinel's user without a password", set{"store": "{url: 'redis+sentinel://localhost/main', sentinel_user: u, keyset_file: keyset.json}"}, "2:49: store.sentinel_user: wants store.sentinel_password too"},
		{"a CA needs TLS", set{"store": "{url: 'redis://localhost', ca_file: keyset.json, keyset_file: keyset.json}"}, "2:35: store.ca_file: has no effect"},
		{"a CA is a certificate", set{"store": "{url: 'rediss://localhost', ca_file: keyset.json, keyset_file: keyset.json}"}, "2:36: store.ca_file: holds no certificate in PEM"},
		{"a client certificate", set{"store": "{url: 'rediss://localhost', cert_file: cert.pem, key_file: key.pem, keyset_file: keyset.json}"}, ""},
		{"a client certificate needs TLS", set{"store": "{url: 'redis://localhost', cert_file: cert.pem, key_file: key.pem, keyset_file: keyset.json}"}, "2:35: store.cert_file: has no effect"},
		{"a client certificate without its key", set{"store": "{url: 'rediss://localhost', cert_file: cert.pem, keyset_file: keyset.json}"}, "store.key_file: is missing"},
		{"a client's key without a certificate", set{"store": "{url: 'rediss://localhost', key_file: key.pem, keyset_file: keyset.json}"}, "store.cert_file: is missing"},
		{"a client certificate with another key", set{"store": "{url: 'rediss://localhost', cert_file: cert.pem, key_file: otherkey.pem, keyset_file: keyset.json}"}, "2:36: store.cert_file: does not fit its key"},
		{"replicas that there are not", set{"store": "{url: embedded, wait_replicas: 1}"}, "2:24: store.wait_replicas: the embedded store has no replicas"},
		{"less than no replicas", set{"store": "{url: embedded, wait_replicas: -1}"}, "2:24: store.wait_replicas: want a number"},
		// T-8
		{"a consent that stands", set{"tokens": "{renewal: {max: 90d, idle: 30d}}"}, ""},
		{"a consent that stands for a year", set{"tokens": "{renewal: {max: 365d}}"}, ""},
		{"a consent that does not", set{"tokens": "{renewal: off}"}, ""},
		{"a consent that does not, in another word", set{"tokens": "{renewal: false}"}, ""},
		{"nothing said of it", set{"tokens": "{renewal: }"}, ""},
		{"an empty renewal", set{"tokens": "{renewal: {}}"}, "5:10: tokens.renewal.max: is missing"},
		{"a renewal without an end", set{"tokens": "{renewal: {idle: 30d}}"}, "5:10: tokens.renewal.max: is missing"},
		{"a renewal in other words", set{"tokens": "{renewal: forever}"}, "5:10: tokens.renewal: want off, or {max: 90d, idle: 30d}"},
		{"a renewal in a list", set{"tokens": "{renewal: [90d]}"}, "5:19: want an object, got a list"},
		{"a renewal that rotates", set{"tokens": "{renewal: {max: 90d, rotate: true}}"}, `5:30: unknown key "rotate"`},
		{"a renewal for ever", set{"tokens": "{renewal: {max: 366d}}"}, "5:20: tokens.renewal.max: want at most 365d"},
		{"a renewal shorter than a token", set{"tokens": "{ttl: 1h, renewal: {max: 1h}}"}, "5:29: tokens.renewal.max: want more than tokens.ttl"},
		{"a renewal that nobody could use in time", set{"tokens": "{ttl: 1h, renewal: {max: 90d, idle: 30m}}"}, "5:39: tokens.renewal.idle: want more than tokens.ttl"},
		{"idle beyond the end", set{"tokens": "{renewal: {max: 90d, idle: 91d}}"}, "5:30: tokens.renewal.idle: want at most max"},
		{"an app's own renewal", set{"providers_file": "", "apps": "[{" + app + ", renewal: {max: 7d}}]"}, ""},
		{"an app's own renewal, longer than that of all", set{"providers_file": "", "tokens": "{renewal: {max: 2d}}", "apps": "[{" + app + ", renewal: {max: 7d, idle: 5d}}]"}, ""},
		{"an app without renewals", set{"providers_file": "", "tokens": "{renewal: {max: 2d}}", "apps": "[{" + app + ", renewal: off}]"}, ""},
		{"an app's renewal beyond its end", set{"providers_file": "", "tokens": "{renewal: {max: 2d}}", "apps": "[{" + app + ", renewal: {idle: 3d}}]"}, "renewal.idle: want at most max"},
		{"an app's renewal in other words", set{"providers_file": "", "apps": "[{" + app + ", renewal: 5d}]"}, "renewal: want off, or {max: 90d, idle: 30d}"},

		{"an operator", set{"operator": "{name: 'Example Ltd', contact: help@example.com}"}, ""},
		{"an operator's page", set{"operator": "{contact: 'https://example.com/help?about=agents#end'}"}, ""},
		{"an operator's address as a URL", set{"operator": "{contact: 'mailto:help+ath@example.com'}"}, ""},
		{"an operator's name is text", set{"operator": "{name: \"a\\nb\"}"}, "operator.name: "},
		{"a contact by script", set{"operator": "{contact: 'javascript:alert(1)'}"}, "operator.contact: want a mail address, mailto: and one, or an https URL"},
		{"a contact by script in other letters", set{"operator": "{contact: 'JavaScript:alert(1)//a@example.com'}"}, "operator.contact: want a mail address"},
		{"a contact in a data URL", set{"operator": "{contact: 'data:text/html,a@example.com'}"}, "operator.contact: want a mail address"},
		{"a contact without TLS", set{"operator": "{contact: 'http://example.com/help'}"}, "operator.contact: want a mail address"},
		{"a contact with a password", set{"operator": "{contact: 'https://ops:hunter2@example.com/'}"}, "operator.contact: want a mail address"},
		{"a contact that writes the mail", set{"operator": "{contact: 'mailto:help@example.com?bcc=x@example.org'}"}, "operator.contact: want a mail address"},
		{"a contact of two", set{"operator": "{contact: 'a@example.com,b@example.com'}"}, "operator.contact: want a mail address"},
		{"a contact without a place", set{"operator": "{contact: help}"}, "operator.contact: want a mail address"},

		{"ended tokens are remembered for a while", set{"tokens": "{ttl: 1h, remember_ended: 1h}"}, ""},
		{"ended tokens are forgotten too soon", set{"tokens": "{remember_ended: 59s}"}, "tokens.remember_ended: want between 1m0s and 168h0m0s"},
		{"ended tokens are remembered for ever", set{"tokens": "{remember_ended: 169h}"}, "tokens.remember_ended: want between"},
		{"what is remembered has a duration", set{"tokens": "{remember_ended: long}"}, "tokens.remember_ended: want a duration"},
		{"a patient store", set{"store": "{url: embedded, timeout: 1m}"}, "2:24: store.timeout: want between 10ms and 5s"},
		{"a timeout is a duration", set{"store": "{url: embedded, timeout: soon}"}, "2:24: store.timeout: want a duration"},
		{"a keyset in a variable", set{"store": "{url: 'redis://127.0.0.1', keyset: '${ATHD_KEYSET}'}"}, ""},
		{"a keyset in a variable that is not set", set{"store": "{url: 'redis://127.0.0.1', keyset: '${NOBODY}'}"}, "environment variable NOBODY is not set"},
		{"a keyset in a variable that is none", set{"store": "{url: 'redis://127.0.0.1', keyset: '${HOST}'}"}, "2:35: store.keyset: keyset is not a valid Tink keyset"},
		{"a keyset twice", set{"store": "{url: 'redis://127.0.0.1', keyset: '${ATHD_KEYSET}', keyset_file: keyset.json}"}, "store.keyset_file: store.keyset is given too"},
		{"a keyset in the clear", set{"store": "{url: 'redis://127.0.0.1', keyset: '{}'}"}, "2:35: store.keyset: has to come from a variable: ${ATHD_KEYSET}"},
		{"a keyset is required", set{"store": "{url: 'redis://127.0.0.1'}"}, "2:1: store.keyset_file: is missing"},
		{"a keyset is a keyset", set{"store": "{url: 'redis://127.0.0.1', keyset_file: providers.json}"}, "2:35: store.keyset_file: keyset is not a valid Tink keyset"},
		{"a keyset is there", set{"store": "{url: embedded, keyset_file: gone.json}"}, "2:24: store.keyset_file: cannot be read"},

		{"something must be fronted", set{"providers_file": ""}, "providers_file: there is no provider and no app"},
		{"an empty file fronts nothing", set{"providers_file": "empty.json"}, "3:1: providers_file: there is no provider and no app"},
		{"providers_file is there", set{"providers_file": "gone.json"}, "3:1: providers_file: cannot be read"},
		{"an app is enough", set{"providers_file": "", "apps": "[{" + app + "}]"}, ""},
		{"an app beside providers", set{"apps": "[{" + app + "}]"}, ""},
		{"an app under a provider's id", set{"apps": "[{" + strings.Replace(app, "shop", "files", 1) + "}]"}, "4:9: apps[0].app_id: is taken"},
		{"two apps under one id", set{"apps": "[{" + app + "}, {" + app + "}]"}, "apps[1].app_id: is taken"},
		{"derived rules of a provider under strict_scopes", set{"strict_scopes": "true"}, "/etc/athd/providers.json:1:2: scope_rules: are missing, and strict_scopes is on: write what each scope of provider files opens"},
		{"derived rules of an app under strict_scopes", set{"providers_file": "", "apps": "[{" + app + "}]", "strict_scopes": "true"}, `3:8: scope_rules: are missing, and strict_scopes is on: write what each scope of provider shop opens, such as {"scope": "products:read", "methods": ["GET"], "paths": ["/products/**"]}`},
		{"written rules under strict_scopes", set{"providers_file": "", "apps": "[{" + app + ", scope_rules: [{scope: products:read, methods: [GET], paths: [/products]}]}]", "strict_scopes": "true"}, ""},
		{"a list where an endpoint is wanted", set{"providers_file": "", "apps": "[{" + strings.Replace(app, "https://l.example.com/t", "[x]", 1) + "}]"}, "want text, got a list"},
		{"a rule of a scope that is not available", set{"providers_file": "", "apps": "[{" + app + ", scope_rules: [{scope: products:write, methods: [GET], paths: [/products]}]}]"}, "scope_rules[0].scope: is not one of available_scopes"},
		{"an app's id is not default", set{"apps": "[{" + strings.Replace(app, "shop", "default", 1) + "}]"}, `app_id: the id "default" is reserved`},

		{"an admin token", set{"admin": "{tokens: [{name: ops, token_file: admin.token}]}"}, ""},
		{"an admin token has a name", set{"admin": "{tokens: [{token_file: admin.token}]}"}, "4:18: admin.tokens[0].name: is missing"},
		{"an admin token has a file", set{"admin": "{tokens: [{name: ops}]}"}, "4:18: admin.tokens[0].token_file: is missing"},
		{"operators on the admin listener", set{"admin": "{public: false, tokens: [{name: ops, token_file: admin.token}]}"}, ""},
		// S-10
		{"an admin token cannot be guessed", set{"admin": "{tokens: [{name: ops, token_file: short.token}]}"}, "4:30: admin.tokens[0].token_file: the token in the file can be guessed"},
		{"an admin token is one line", set{"admin": "{tokens: [{name: ops, token_file: two.token}]}"}, "admin.tokens[0].token_file: want one line"},
		{"an admin token is not empty", set{"admin": "{tokens: [{name: ops, token_file: none.token}]}"}, "admin.tokens[0].token_file: is empty"},
		{"an operator's role", set{"admin": "{tokens: [{name: ops, token_file: admin.token, role: viewer}]}"}, ""},
		{"a role that is none", set{"admin": "{tokens: [{name: ops, token_file: admin.token, role: root}]}"}, "4:55: admin.tokens[0].role: want viewer, approver or admin"},
		{"a token's end", set{"admin": "{tokens: [{name: ops, token_file: admin.token, expires: 2027-01-31T00:00:00Z}]}"}, ""},
		{"a token's end as a text", set{"admin": "{tokens: [{name: ops, token_file: admin.token, expires: '2027-01-31T00:00:00+01:00'}]}"}, ""},
		{"a token's end is a date and a time", set{"admin": "{tokens: [{name: ops, token_file: admin.token, expires: 2027-01-31}]}"}, "admin.tokens[0].expires: want a date and time as RFC 3339 writes them"},
		{"a viewer that sees users", set{"admin": "{tokens: [{name: ops, token_file: admin.token, role: viewer, sees_users: true}]}"}, ""},
		{"an approver sees users anyway", set{"admin": "{tokens: [{name: ops, token_file: admin.token, role: approver, sees_users: false}]}"}, "admin.tokens[0].sees_users: is for the role viewer"},
		{"an operator's next token", set{"admin": "{tokens: [{name: ops, token_file: admin.token, expires: 2026-12-06T00:00:00Z}, {name: ops, token_file: long.token}]}"}, ""},
		{"an operator's two tokens, and neither goes", set{"admin": "{tokens: [{name: ops, token_file: admin.token}, {name: ops, token_file: long.token}]}"}, "admin.tokens[1].name: is another token's too, which is one operator's way from an old token to a new one: say when the old one ends"},
		{"two operators of one name", set{"admin": "{tokens: [{name: ops, token_file: admin.token, role: admin, expires: 2026-12-06T00:00:00Z}, {name: ops, token_file: long.token, role: viewer}]}"}, "admin.tokens[1].name: is another token's too, which is one operator's way from an old token to a new one: both need the same role"},
		{"an admin token is used once", set{"admin": "{tokens: [{name: ops, token_file: admin.token}, {name: dev, token_file: again.token}]}"}, "admin.tokens[1].token_file: the file holds the same token as another one"},

		{"A-9: a pinned agent", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: agent.pem, name: A, developer: {name: D, id: d}}, {agent_id: 'https://laptop.invalid/b', public_key_file: agent.jwk, name: B, developer: {name: D, id: d}}]"}, ""},
		{"A-9: its key is there", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: gone.pem, name: A, developer: {name: D, id: d}}]"}, "4:49: agents[0].public_key_file: cannot be read"},
		{"A-9: its key is public", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: private.jwk, name: A, developer: {name: D, id: d}}]"}, "agents[0].public_key_file: want a P-256 public key, as a PEM block PUBLIC KEY or a JWK: the JWK holds a private key"},
		{"A-9: its key is no certificate", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: cert.pem, name: A, developer: {name: D, id: d}}]"}, "agents[0].public_key_file: want a P-256 public key, as a PEM block PUBLIC KEY or a JWK: want one PEM block"},
		{"A-9: its key is the operator's", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: open.pem, name: A, developer: {name: D, id: d}}]"}, "agents[0].public_key_file: every user of this machine can write the file (mode 0666)"},
		{"A-9: its key is named", set{"agents": "[{agent_id: 'https://laptop.invalid/a', name: A, developer: {name: D, id: d}}]"}, "agents[0].public_key_file: is missing"},
		{"A-9: its id is canonical", set{"agents": "[{agent_id: 'https://Laptop.invalid/a', public_key_file: agent.pem, name: A, developer: {name: D, id: d}}]"}, "agents[0].agent_id: want an https URL, as agents name themselves; nothing needs to be there: agent_id's host is not in canonical form"},
		{"A-9: its id is https", set{"agents": "[{agent_id: 'http://laptop.invalid/a', public_key_file: agent.pem, name: A, developer: {name: D, id: d}}]"}, "agents[0].agent_id: want an https URL"},
		{"A-9: it is pinned once", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: agent.pem, name: A, developer: {name: D, id: d}}, {agent_id: 'https://laptop.invalid/a', public_key_file: agent.jwk, name: A, developer: {name: D, id: d}}]"}, "agents[1].agent_id: is taken"},
		{"A-9: it has a name", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: agent.pem, developer: {name: D, id: d}}]"}, "agents[0].name: is missing"},
		{"A-9: its developer has an id", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: agent.pem, name: A, developer: {name: D}}]"}, "agents[0].developer.id: is missing"},
		{"A-9: its name is plain", set{"agents": "[{agent_id: 'https://laptop.invalid/a', public_key_file: agent.pem, name: \"a\\u202eb\", developer: {name: D, id: d}}]"}, "agents[0].name: is too long, or holds control characters"},

		{"R-1: the default must be said", set{"approval": ""}, "approval.default: is missing"},
		{"R-1: the default is an action", set{"approval": "{default: yes}"}, "4:12: approval.default: want approve, review or deny"},
		{"R-1: a rule", set{"approval": "{default: deny, rules: [{agents: ['https://*.example.com/**'], scopes: ['files:*'], action: approve, expires: 90d}]}"}, ""},
		{"R-1: a rule names hosts", set{"approval": "{default: review, rules: [{hosts: ['Agents.Example.com.', '*.example.com'], action: deny}]}"}, ""},
		{"R-1: a rule's host is one", set{"approval": "{default: review, rules: [{hosts: ['*'], action: deny}]}"}, "4:46: approval.rules[0].hosts[0]: want a host, or *."},
		{"R-1: a rule's host has no port", set{"approval": "{default: review, rules: [{hosts: ['a.example', 'a.example:443'], action: deny}]}"}, "approval.rules[0].hosts[1]: want a host, or *. and a name for all hosts below it: a pattern of hosts names no port"},
		{"R-1: a rule's hosts are not empty", set{"approval": "{default: review, rules: [{hosts: [], action: deny}]}"}, "4:38: approval.rules[0].hosts: is an empty list"},
		// S-8
		{"a rule that approves by developers only", set{"approval": "{default: review, rules: [{developers: [acme], action: approve}]}"}, "4:38: approval.rules[0].developers: a developer's id is what the agent itself writes into its document, so that this rule approves whoever writes it: name the agents' hosts too"},
		{"a rule that approves by developers and by agents anywhere", set{"approval": "{default: review, rules: [{developers: [acme], agents: ['https://agents.example.com/**', '*'], action: approve}]}"}, "approval.rules[0].developers: a developer's id"},
		{"a rule that approves by developers and by agents at a host", set{"approval": "{default: review, rules: [{developers: [acme], agents: ['https://*.example.com/**'], action: approve}]}"}, ""},
		{"a rule that approves by developers and by hosts", set{"approval": "{default: review, rules: [{developers: [acme], hosts: ['*.example.com'], action: approve}]}"}, ""},
		{"a rule that denies or reviews by developers", set{"approval": "{default: review, rules: [{developers: [acme], action: deny}, {developers: [x], action: review}]}"}, ""},
		{"R-1: a rule has an action", set{"approval": "{default: deny, rules: [{agents: ['*']}]}"}, "4:35: approval.rules[0].action: is missing"},
		{"R-1: a rule's action is one", set{"approval": "{default: deny, rules: [{action: allow}]}"}, "4:36: approval.rules[0].action: want approve, review or deny"},
		{"R-1: an empty glob", set{"approval": "{default: deny, rules: [{agents: [''], action: approve}]}"}, "approval.rules[0].agents[0]: a pattern is empty"},
		{"R-1: an empty list of globs", set{"approval": "{default: deny, rules: [{agents: [], action: approve}]}"}, "approval.rules[0].agents: is an empty list"},
		{"R-5: an expiry is a duration", set{"approval": "{default: deny, rules: [{action: approve, expires: 90}]}"}, "approval.rules[0].expires: want a duration"},
		{"R-5: an expiry is more than nothing", set{"approval": "{default: deny, rules: [{action: approve, expires: 0d}]}"}, "approval.rules[0].expires: want a duration"},
		{"R-5: a denial does not expire", set{"approval": "{default: deny, rules: [{action: deny, expires: 90d}]}"}, "approval.rules[0].expires: is for rules that approve or review"},

		{"T-6: a token lives an hour", set{"tokens": "{ttl: 1h}"}, ""},
		{"T-6: a token lives an hour at most", set{"tokens": "{ttl: 61m}"}, "5:10: tokens.ttl: want at most 1h"},
		{"T-6: a token lives", set{"tokens": "{ttl: 0s}"}, "5:10: tokens.ttl: want a duration"},
		{"a token lives a second", set{"tokens": "{ttl: 10ms}"}, "5:10: tokens.ttl: want at least 1s"},
		{"Z-4: a session lives 10 minutes at most", set{"sessions": "{ttl: 601s}"}, "5:12: sessions.ttl: want at most 10m"},
		{"Z-5: consent is one of three", set{"consent": "maybe"}, "5:1: consent: want page, redirect or direct"},
		{"consent: direct", set{"consent": "direct"}, ""},

		{"Envoy's listener", set{"envoy": "{listen: 8080}"}, "5:9: envoy.listen: want host:port"},
		{"Envoy's port 0", set{"envoy": "{listen: '0.0.0.0:0'}"}, ""},
		{"Envoy without admin pages", set{"envoy": "{admin: none}"}, ""},
		{"Envoy's certificate has a key", set{"envoy": "{tls: {cert_file: c.pem}}"}, "5:9: envoy.tls: cert_file and key_file go together"},
		{"Envoy's one certificate", set{"envoy": "{tls: {cert_file: c.pem, key_file: k.pem}}"}, ""},
		{"Envoy's certificates", set{"envoy": "{tls: [{cert_file: c.pem, key_file: k.pem}, {cert_file: d.pem, key_file: l.pem}]}"}, ""},
		{"Envoy's certificate, nothing said", set{"envoy": "{tls: {}}"}, ""},
		{"Envoy's second certificate has a key", set{"envoy": "{tls: [{cert_file: c.pem, key_file: k.pem}, {cert_file: d.pem}]}"}, "5:52: envoy.tls[1]: cert_file and key_file go together"},
		{"Envoy's certificate has no other field", set{"envoy": "{tls: {cert_file: c.pem, keyfile: k.pem}}"}, `5:33: unknown key "keyfile", did you mean "key_file"?`},
		{"Envoy's certificates are objects", set{"envoy": "{tls: [c.pem]}"}, "5:15: want an object"},
		{"Envoy's certificates are no text", set{"envoy": "{tls: c.pem}"}, "5:"},
		{"Envoy's certificate for athd is whole", set{"envoy": "{athd_tls: {cert_file: c.pem, key_file: k.pem, ca_file: ca.pem}}", "listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, "6:9: envoy.athd_tls.server_name: is missing"},
		{"Envoy's certificate for athd is asked for", set{"envoy": "{athd_tls: {cert_file: c.pem, key_file: k.pem, ca_file: ca.pem, server_name: athd}}"}, "5:9: envoy.athd_tls: has nothing to talk to"},

		{"the filter that judges", set{"envoy": "{filter: ext_proc}"}, ""},
		{"the filter that judges is one of two", set{"envoy": "{filter: ext_auth}"}, "5:9: envoy.filter: want ext_authz or ext_proc"},
		{"streams are watched", set{"envoy": "{streams: watched}"}, ""},
		{"streams are watched or bounded", set{"envoy": "{streams: always}"}, "5:9: envoy.streams: want bounded or watched"},
		{"streams outlive athd", set{"envoy": "{streams: watched, streams_on_loss: keep}"}, ""},
		{"streams end with athd or not", set{"envoy": "{streams: watched, streams_on_loss: no}"}, "5:27: envoy.streams_on_loss: want end or keep"},
		{"streams that are not watched do not notice a loss", set{"envoy": "{streams_on_loss: keep}"}, "5:9: envoy.streams_on_loss: keep is for streams: watched"},
		{"replies are checked", set{"envoy": "{replies: checked}"}, ""},
		{"replies are cleared or checked", set{"envoy": "{replies: 'off'}"}, "5:9: envoy.replies: want cleared or checked"},

		{"log", set{"log": "{format: json, level: debug}"}, ""},
		{"log.format", set{"log": "{format: xml}"}, "5:7: log.format: want text or json"},
		{"a file of audit events", set{"audit": "{file: /var/log/athd/audit.jsonl, requests: true, max_size: 1GiB, keep: 30}"}, ""},
		{"audit.file is no directory", set{"audit": "{file: /var/log/athd/}"}, "5:9: audit.file: is a directory"},
		{"audit.max_size is a size", set{"audit": "{file: a, max_size: 100MB}"}, "5:18: audit.max_size: want a number of KiB, MiB or GiB"},
		{"audit.max_size has a unit", set{"audit": "{file: a, max_size: '100'}"}, "5:18: audit.max_size: want a number of KiB, MiB or GiB"},
		{"audit.max_size is a number", set{"audit": "{file: a, max_size: +1MiB}"}, "5:18: audit.max_size: want a number of KiB, MiB or GiB"},
		{"audit.max_size has room for an event", set{"audit": "{file: a, max_size: 63KiB}"}, "5:18: audit.max_size: want 64KiB at least"},
		{"audit.max_size is a size that there is", set{"audit": "{file: a, max_size: 4294967296GiB}"}, "5:18: audit.max_size: want a number of KiB, MiB or GiB"},
		{"audit.keep", set{"audit": "{file: a, keep: 0}"}, "5:18: audit.keep: want"},
		{"audit.keep has an end", set{"audit": "{file: a, keep: 1001}"}, "5:18: audit.keep: want 1000 at most"},
		{"audit.requests is of a file", set{"audit": "{requests: true}"}, "5:1: audit.file: is missing"},
		{"log.level", set{"log": "{level: loud}"}, "5:7: log.level: want debug, info, warn or error"},

		// F-20
		{"origins of scripts", set{"consent_url": "https://consent.example.com", "cors": "{allowed_origins: ['https://app.example', 'https://app.example:8443', 'http://localhost:3000', 'http://[::1]:3000']}"}, ""},
		{"no origins of scripts", set{"cors": "{allowed_origins: []}"}, ""},
		{"the consent pages share public_url's origin", set{"cors": "{allowed_origins: ['https://gateway.example.com']}"}, ""},
		{"not any origin", set{"cors": "{allowed_origins: ['https://app.example', '*']}"}, "5:49: cors.allowed_origins[1]: want each origin by its name"},
		{"not any sub-domain", set{"cors": "{allowed_origins: ['https://*.example']}"}, "5:26: cors.allowed_origins[0]: want each origin by its name"},
		{"no null", set{"cors": "{allowed_origins: ['null']}"}, "5:26: cors.allowed_origins[0]: want an absolute URL"},
		{"an origin has a scheme", set{"cors": "{allowed_origins: [app.example]}"}, "cors.allowed_origins[0]: want an absolute URL"},
		{"an origin has no path", set{"cors": "{allowed_origins: ['https://app.example/']}"}, "cors.allowed_origins[0]: want a URL of scheme and host only"},
		{"an origin is in lower case", set{"cors": "{allowed_origins: ['https://App.example']}"}, "cors.allowed_origins[0]: want scheme and host in lower case"},
		{"an origin without the scheme's own port", set{"cors": "{allowed_origins: ['https://app.example:443']}"}, "cors.allowed_origins[0]: want no port"},
		{"an origin once", set{"cors": "{allowed_origins: ['https://app.example', 'https://app.example']}"}, "5:49: cors.allowed_origins[1]: is there twice"},
		{"an origin is https on the network", set{"cors": "{allowed_origins: ['http://app.example']}"}, "cors.allowed_origins[0]: http is for loopback hosts only"},
		{"an http origin is a development option", set{"cors": "{allowed_origins: ['http://app.example']}", "development": "{allow_http: true}"}, ""},
		{"not the consent pages' origin", set{"consent_url": "https://consent.example.com", "cors": "{allowed_origins: ['https://consent.example.com:8443']}"}, "cors.allowed_origins[0]: is the host of consent_url"},

		{"a host for the consent pages", set{"public_url": "https://gateway.example.com", "consent_url": "https://consent.example.com"}, ""},
		{"the consent pages on public_url", set{"public_url": "https://gateway.example.com", "consent_url": "https://gateway.example.com"}, ""},
		{"consent_url has no path", set{"consent_url": "https://consent.example.com/"}, "consent_url: want a URL of scheme and host only"},
		{"consent_url is https where public_url is", set{"public_url": "https://gateway.example.com", "consent_url": "http://consent.localhost:8080"}, "consent_url: want https, as public_url has it"},
		{"consent_url is https on the network", set{"public_url": "http://localhost:8080", "consent_url": "http://consent.example.com"}, "consent_url: http is for loopback hosts only"},
		{"consent_url's own port is not enough", set{"public_url": "https://gateway.example.com", "consent_url": "https://gateway.example.com:8443"}, "consent_url: want another host name than that of public_url"},
		{"consent_url's own dot is not enough", set{"public_url": "https://gateway.example.com", "consent_url": "https://gateway.example.com."}, "consent_url: want another host name than that of public_url"},
		{"no app at consent_url", set{"public_url": "https://gateway.example.com", "consent_url": "https://consent.example.com", "apps": "[{" + app + ", hosts: ['Consent.example.com:8080']}]"}, "apps[0].hosts: names the host of consent_url"},
		{"no app known as consent_url", set{"public_url": "https://gateway.example.com", "consent_url": "https://consent.example.com", "apps": "[{" + app + ", audience: 'https://consent.example.com'}]"}, "apps[0].audience: is at the host of consent_url"},
		{"an app's callback at consent_url", set{"public_url": "https://gateway.example.com", "consent_url": "https://consent.example.com", "apps": "[{" + app + ", callback_url: 'https://consent.example.com/ath/callback'}]"}, ""},
		{"an app's callback elsewhere", set{"public_url": "https://gateway.example.com", "consent_url": "https://consent.example.com", "apps": "[{" + app + ", callback_url: 'https://other.example.com/ath/callback'}]"}, "callback_url: must be the audience or consent_url, followed by /ath/callback"},

		{"T-1: any code is for loopback", set{"development": "{accept_any_code: true}"}, "5:15: development.accept_any_code: needs a public_url on a loopback host"},
		{"T-1: any code on loopback", set{"public_url": "http://127.0.0.1:8080", "development": "{accept_any_code: true}"}, ""},
		{"T-1: allow_http does not make any host a loopback one", set{"public_url": "http://gateway.example.com", "development": "{accept_any_code: true, allow_http: true}"}, "5:15: development.accept_any_code: needs a public_url on a loopback host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := configtest.YAML(test.parts)
			if test.want == "" {
				if err := editor.check(t, text); err != nil {
					t.Errorf("an editor has something against it: %v", err)
				}
			}
			s, faults := Parse("/etc/athd/athd.yaml", []byte(text), sources(configtest.NewMachine(t)))
			if strings.Contains(faults.Error(), "hunter2") {
				t.Errorf("a fault shows a secret: %v", faults)
			}
			if test.want == "" {
				if len(faults) > 0 || s == nil {
					t.Fatalf("%s\nfaults:\n%v", text, faults)
				}
				return
			}
			if s != nil {
				t.Error("there are settings beside faults")
			}
			if len(faults) != 1 || !strings.Contains(faults[0].String(), test.want) {
				t.Errorf("%s\nfaults:\n%v\nwant one: %s", text, faults, test.want)
			}
		})
	}
}

func TestModesOfSecretFiles(t *testing.T) {
	tls := map[string]string{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}
	keyset := map[string]string{"store": "{url: embedded, keyset_file: keyset.json}"}
	admin := map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token}]}"}
	for _, test := range []struct {
		file          string
		mode          fs.FileMode
		parts         map[string]string
		fault, warned bool
	}{
		{"keyset.json", 0o600, keyset, false, false},
		{"keyset.json", 0o640, keyset, false, false},
		{"keyset.json", 0o660, keyset, true, false},
		{"keyset.json", 0o644, keyset, true, false},
		{"key.pem", 0o640, tls, false, false},
		{"key.pem", 0o604, tls, true, false},
		{"cert.pem", 0o644, tls, false, false},
		{"admin.token", 0o640, admin, false, false},
		{"admin.token", 0o644, admin, false, true},
	} {
		p := configtest.NewMachine(t)
		p.Modes["/etc/athd/"+test.file] = test.mode
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(test.parts)), sources(p))
		if got := strings.Contains(faults.Error(), "but its mode is"); got != test.fault || got != (s == nil) {
			t.Errorf("%s with mode %#o: faults %v", test.file, test.mode, faults)
		}
		if s != nil && strings.Contains(strings.Join(s.Warnings, "\n"), "can read the secret") != test.warned {
			t.Errorf("%s with mode %#o: warnings %q", test.file, test.mode, s.Warnings)
		}
	}
}

// T-8: what a provider or app says of itself stands; else tokens.renewal.
func TestRenewalOfAProviderIsItsOwnOrThatOfAll(t *testing.T) {
	const day = 24 * time.Hour
	none, month := ath.RenewalTerms{}, ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}
	for _, test := range []struct {
		all, own string
		want     ath.RenewalTerms
	}{
		{"", "", none},
		{"", "{max: 90d}", month},
		{"", "{max: 7d}", ath.RenewalTerms{Max: 7 * day, Idle: 7 * day}},
		{"", "off", none},
		{"{max: 90d, idle: 30d}", "", month},
		{"{max: 90d, idle: 30d}", "off", none},
		{"{max: 90d, idle: 30d}", "{}", month},
		{"{max: 90d, idle: 30d}", "{idle: 60d}", ath.RenewalTerms{Max: 90 * day, Idle: 60 * day}},
		{"{max: 90d, idle: 30d}", "{max: 180d}", ath.RenewalTerms{Max: 180 * day, Idle: 30 * day}},
		{"{max: 90d, idle: 30d}", "{max: 7d}", ath.RenewalTerms{Max: 7 * day, Idle: 7 * day}},
		{"off", "{max: 90d, idle: 30d}", month},
	} {
		parts := map[string]string{"apps": apps("")}
		if test.own != "" {
			parts["apps"] = apps(", renewal: " + test.own)
		}
		if test.all != "" {
			parts["tokens"] = "{renewal: " + test.all + "}"
		}
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(parts)), sources(configtest.NewMachine(t)))
		if faults != nil {
			t.Fatal(test, faults)
		}
		if got := s.Providers.Get("shop").Renewal; got != test.want {
			t.Errorf("all %q, own %q: %v, want %v", test.all, test.own, got, test.want)
		}
		if got := s.Providers.Get("files").Renewal; got != s.Renewal {
			t.Errorf("all %q: a provider that says nothing has %v, and all have %v", test.all, got, s.Renewal)
		}
	}
}

func TestConfigurationDefaults(t *testing.T) {
	s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(nil)), sources(configtest.NewMachine(t)))
	if faults != nil {
		t.Fatal(faults)
	}
	if s.GRPC.String() != "unix:/run/athd/authz.sock" || s.HTTP.String() != "127.0.0.1:9000" || s.Admin.String() != "127.0.0.1:9002" {
		t.Errorf("listeners at %v, %v, %v", s.GRPC, s.HTTP, s.Admin)
	}
	if s.TokenTTL != time.Hour || s.SessionTTL != 10*time.Minute || s.Consent != athflow.ConsentPage || s.Policy.Default != approval.Review {
		t.Errorf("%v, %v, %q, %q", s.TokenTTL, s.SessionTTL, s.Consent, s.Policy.Default)
	}
	if !s.Renewal.IsZero() || s.Operator != (athflow.Operator{}) {
		t.Errorf("without a word consents stand for %v, by the word of %v", s.Renewal, s.Operator)
	}
	if s.Development != (Development{}) {
		t.Errorf("development options are on by default: %+v", s.Development)
	}
	if s.Envoy.Listen != "0.0.0.0:8080" || s.Envoy.Admin != "127.0.0.1:9901" || s.Envoy.CAFile == "" || !slices.Equal(s.Envoy.GRPC, []Address{s.GRPC}) {
		t.Errorf("%+v", s.Envoy)
	}
}

func TestRelativePathsStartAtTheFileThatNamesThem(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"athd.yaml":            configtest.YAML(map[string]string{"providers_file": "sub/providers.json", "envoy": "{ca_file: roots.pem}"}),
		"sub/providers.json":   strings.Replace(configtest.ProvidersJSON, `"client_secret": "secret"`, `"client_secret_file": "secrets/files"`, 1),
		"sub/secrets/files":    "s3cret\n",
		"secrets/not-this-one": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, faults := Load(filepath.Join(dir, "athd.yaml"), Sources{Env: os.LookupEnv, ReadFile: ReadFile})
	if faults != nil {
		t.Fatal(faults)
	}
	if got := s.Providers.Get("files").ClientSecret.Reveal(); got != "s3cret" {
		t.Errorf("client secret %q", got)
	}
	if s.Envoy.CAFile != filepath.Join(dir, "roots.pem") {
		t.Errorf("ca_file %q", s.Envoy.CAFile)
	}
}

func TestConfigurationWarnings(t *testing.T) {
	for _, test := range []struct {
		name  string
		parts map[string]string
		want  string
	}{
		{"embedded", nil, "nothing survives a restart"},
		{"derived rules", nil, "provider files: no scope_rules; derived from the scopes' names: files:read: GET"},
		{"a scope that no rule covers", map[string]string{"providers_file": "bare.json"}, "provider files: no request is covered by files:like: write scope_rules"},
		{"a redundant rule", map[string]string{"providers_file": "redundant.json"}, "/etc/athd/redundant.json:5:2: scope_rules[1]: is redundant: scope_rules[0] allows all of it"},
		{"a redundant path", map[string]string{"providers_file": "redundant.json"}, "/etc/athd/redundant.json:4:77: scope_rules[0].paths[1]: is redundant: paths[0] matches all of it"},
		{"skip_attestation_verification", map[string]string{"development": "{skip_attestation_verification: true}"}, "anyone can speak for any agent"},
		{"accept_any_code", map[string]string{"public_url": "http://localhost", "development": "{accept_any_code: true}"}, "needs no code"},
		{"allow_http", map[string]string{"development": "{allow_http: true}"}, "in the clear"},
		{"allow_private_hosts", map[string]string{"development": "{allow_private_hosts: true}"}, "private network"},
		{"insecure grpc", map[string]string{"listen": "{grpc: ':9001', insecure_grpc_without_client_auth: true}"}, "whoever reaches :9001"},
		{"open admin", map[string]string{"listen": "{admin: ':9002'}"}, "listen.admin is :9002"},
		{"Envoy's open admin pages", map[string]string{"envoy": "{admin: '0.0.0.0:9901'}"}, "envoy.admin is 0.0.0.0:9901"},
		{"an operator without a role", map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token}]}"}, "admin.tokens[0].role is not set: the token of ops may do everything"},
		{"an operator whose token has expired", map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: admin, expires: 2026-11-29T12:00:00Z}]}"}, "admin.tokens[0].expires: 2026-11-29T12:00:00Z is past: the token of ops is not accepted"},
		{"nobody who may do everything", map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: approver}]}"}, "no token of admin.tokens has the role admin"},
		{"the last who may do everything has expired", map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: approver}, {name: root, token_file: long.token, role: admin, expires: 2026-11-29T11:00:00Z}]}"}, "no token of admin.tokens has the role admin and has not expired"},
		{"direct consent", map[string]string{"consent": "direct"}, "nothing binds the user's browser"},
		{"a redirect that shows no duration", map[string]string{"consent": "redirect", "tokens": "{renewal: {max: 90d}}"}, "consent is redirect: no agent gets a renewal (tokens.renewal, renewal of files), since no page tells users how long"},
		{"an app's renewal that no page shows", map[string]string{"consent": "direct", "apps": apps(", renewal: {max: 90d}")}, "consent is direct: no agent gets a renewal (tokens.renewal, renewal of shop)"},
		{"a renewal that outlives what it needs", map[string]string{"tokens": "{renewal: {max: 90d}}", "apps": apps(", oauth: {refresh: false,")}, "refresh is false for shop: an agent's renewal is of no use there once the user's token has ended"},
		{"a consent that stands, and nobody to ask", map[string]string{"tokens": "{renewal: {max: 90d}}"}, "operator.contact is not set"},
		{"the consent pages beside an app", map[string]string{"apps": apps("")}, "public_url's host also serves shop"},
		{"the consent pages beside an app of that host", map[string]string{"apps": apps(", hosts: [Gateway.example.com]")}, "public_url's host also serves shop"},
		{"Redis without TLS", map[string]string{"store": "{url: 'redis://:hunter2@redis.example.com', keyset_file: keyset.json}"}, "without TLS"},
		// F-5
		{"a password for a user", map[string]string{"store": "{url: 'redis://hunter2@127.0.0.1', keyset_file: keyset.json}"}, "a password alone is written redis://:PASSWORD@host"},
		{"a password for a user, with a colon", map[string]string{"store": "{url: 'redis://hunter2:@127.0.0.1', keyset_file: keyset.json}"}, "does not log in"},
		{"a password for a user, at Sentinels", map[string]string{"store": "{url: 'redis+sentinel://hunter2@localhost,127.0.0.1/main', keyset_file: keyset.json}"}, "does not log in"},
		{"a password for a user, of a cluster", map[string]string{"store": "{url: 'redis+cluster://hunter2@localhost', keyset_file: keyset.json}"}, "does not log in"},
		{"a password for a user, at a socket", map[string]string{"store": "{url: 'unix://hunter2@/run/redis.sock', keyset_file: keyset.json}"}, "does not log in"},
	} {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(test.parts)), sources(configtest.NewMachine(t)))
		if faults != nil {
			t.Errorf("%s: %v", test.name, faults)
			continue
		}
		if all := strings.Join(s.Warnings, "\n"); !strings.Contains(all, test.want) || strings.Contains(all, "hunter2") {
			t.Errorf("%s: warnings\n%s\nwant %q", test.name, all, test.want)
		}
	}
}

// apps is one app, with more said of it.
func apps(more string) string {
	if inOAuth, ok := strings.CutPrefix(more, ", oauth: {"); ok {
		return strings.Replace(apps(""), "oauth: {", "oauth: {"+inOAuth+" ", 1)
	}
	return `[{app_id: shop, upstream: 'http://127.0.0.1:3000', available_scopes: [products:read], oauth: {authorize_endpoint: https://l.example.com/a, token_endpoint: https://l.example.com/t, client_id: i, client_secret: s}` + more + `}]`
}

// S-5
func TestConsentPagesApartNeedNoWarning(t *testing.T) {
	for name, parts := range map[string]map[string]string{
		"a host of their own":         {"apps": apps(""), "consent_url": "https://consent.example.com"},
		"the app has another host":    {"apps": apps(", hosts: [shop.example.com]")},
		"there is no app, but an API": nil,
	} {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(parts)), sources(configtest.NewMachine(t)))
		if faults != nil {
			t.Fatalf("%s: %v", name, faults)
		}
		if all := strings.Join(s.Warnings, "\n"); strings.Contains(all, "consent_url") {
			t.Errorf("%s: %s", name, all)
		}
	}
}

func FuzzParse(f *testing.F) {
	p := configtest.NewMachine(f)
	f.Add(configtest.YAML(nil))
	f.Add(configtest.YAML(map[string]string{
		"listen":   "{grpc: ':9001', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}",
		"store":    "{url_file: redis.url, keyset_file: keyset.json}",
		"admin":    "{tokens: [{name: ops, token_file: admin.token}]}",
		"approval": "{default: deny, rules: [{agents: ['*'], action: approve, expires: 1d12h}]}",
		"envoy":    "{listen: ':0', admin: none, athd_grpc: 'unix:/a'}",
	}))
	f.Add("public_url: ${HOST}\napps: [{appId: a}, null]\nlisten: []\n")
	f.Add("a: &a [*a]\n")
	f.Add("\t")
	f.Fuzz(func(t *testing.T, text string) {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(text), sources(p))
		if (s == nil) != (len(faults) > 0) {
			t.Errorf("settings %v beside faults %v", s != nil, faults)
		}
		if s != nil && (s.PublicURL == "" || s.Providers == nil || s.Policy.Default == "" || s.TokenTTL <= 0 || s.Store.Keyset == nil && !s.Embedded) {
			t.Error("settings lack what they need")
		}
	})
}
