package config

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
)

// A field or a key that nobody thought of would be taken at a restart, or never.
func TestEverySettingSaysWhenItsChangeTakesEffect(t *testing.T) {
	count := map[string]int{}
	for _, s := range settings {
		count[s.field]++
		if s.field == "" && len(s.keys) == 0 {
			t.Error("a row names nothing")
		}
	}
	var known []string
	var walk func(of reflect.Type, prefix string)
	walk = func(of reflect.Type, prefix string) {
		for f := range of.Fields() {
			if !f.IsExported() {
				continue
			}
			name := prefix + f.Name
			known = append(known, name)
			parts := slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.field, name+".") })
			switch {
			case parts && count[name] == 0:
				walk(f.Type, name+".")
			case parts || count[name] != 1:
				t.Errorf("%s is classified %d times, and parts of it are: %v", name, count[name], parts)
			}
		}
	}
	walk(reflect.TypeFor[Settings](), "")
	for name := range maps.Keys(count) {
		if name != "" && !slices.Contains(known, name) {
			t.Errorf("there is no setting %s", name)
		}
	}
	for _, key := range keys(reflect.TypeFor[yamlConfig](), "") {
		if _, tutorial := spellings(t)[key]; tutorial {
			continue
		}
		var rows []string
		for _, s := range settings {
			for _, k := range s.keys {
				if k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) {
					rows = append(rows, s.field)
				}
			}
		}
		if len(rows) != 1 {
			t.Errorf("%s belongs to %q, want one setting", key, rows)
		}
	}
}

// settingsOf loads an athd.yaml of the parts.
func settingsOf(t *testing.T, m configtest.Machine, parts map[string]string) *Settings {
	t.Helper()
	m.Files["/etc/athd/athd.yaml"] = configtest.YAML(parts)
	s, faults := Load("/etc/athd/athd.yaml", sources(m))
	if faults != nil {
		t.Fatal(faults)
	}
	return s
}

// routesOf has the routes that Envoy has for settings.
func routesOf(s *Settings) Routes {
	r := Routes{}
	r.Add(s.Providers)
	return r
}

func TestAChangeIsTakenOrToldByName(t *testing.T) {
	base := map[string]string{
		"admin":    "{tokens: [{name: ops, token_file: admin.token}]}",
		"listen":   "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}",
		"store":    "{url_file: redis.url, keyset_file: keyset.json}",
		"apps":     `[{app_id: shop, upstream: "http://127.0.0.1:3000", hosts: [shop.example.com], available_scopes: [products:read], oauth: {authorize_endpoint: "https://l.example.com/a", token_endpoint: "https://l.example.com/t", client_id: shop, client_secret: s}}]`,
		"approval": "{default: review, rules: [{agents: ['https://a.example/**'], action: deny}]}",
	}
	for _, test := range []struct {
		name    string
		change  map[string]string
		edit    func(m configtest.Machine)
		taken   string
		waiting string
		shorter string
		refused string
	}{
		{name: "nothing"},
		{name: "a comment", change: map[string]string{"public_url": "https://gateway.example.com # ours"}},
		{name: "policy", change: map[string]string{"approval": "{default: approve, rules: [{agents: ['https://a.example/**'], action: deny}]}"}, taken: "approval"},
		{name: "limits", change: map[string]string{"limits": "{per_agent: 5/m}"}, taken: "limits"},
		{name: "the log's level", change: map[string]string{"log": "{level: debug}"}, taken: "log.level"},
		{name: "lives", change: map[string]string{"tokens": "{ttl: 5m}", "sessions": "{ttl: 5m}"}, taken: "tokens.ttl, sessions.ttl"},
		{name: "a renewal of all", change: map[string]string{"tokens": "{renewal: {max: 30d}}"}, taken: "tokens.renewal, provider files, provider shop"},
		{name: "another operator's token", change: map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token}, {name: two, token_file: long.token}]}"}, taken: "admin.tokens"},
		{name: "the file of a token", edit: func(m configtest.Machine) { m.Files["/etc/athd/admin.token"] = m.Files["/etc/athd/long.token"] }, taken: "admin.tokens"},
		{name: "admin.public", change: map[string]string{"admin": "{public: false, tokens: [{name: ops, token_file: admin.token}]}"}, taken: "admin.public"},
		{name: "who may ask", change: map[string]string{"listen": "{tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [other]}}"}, taken: "listen.tls"},
		{name: "a certificate", edit: func(m configtest.Machine) {
			other := configtest.NewPKI(t)
			m.Files["/etc/athd/cert.pem"], m.Files["/etc/athd/key.pem"] = other.Cert, other.Key
		}, taken: "listen.tls"},
		{name: "no TLS", change: map[string]string{"listen": ""}, waiting: "listen.tls"},
		{name: "a listener", change: map[string]string{"listen": "{http: '127.0.0.1:9090', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}"}, waiting: "listen.http", taken: "envoy.athd_http"},
		{name: "the store", change: map[string]string{"store": "{url: 'redis://10.0.0.1', keyset_file: keyset.json, timeout: 100ms}"}, waiting: "store.url, store.timeout"},
		{name: "some of both", change: map[string]string{"log": "{level: debug, format: json}"}, taken: "log.level", waiting: "log.format"},
		{name: "Envoy's own", change: map[string]string{"envoy": "{listen: '0.0.0.0:80'}"}, taken: "envoy.listen"},
		{name: "where run-time providers may be", change: map[string]string{"egress": "{allow: ['10.20.0.0/16']}"}, waiting: "egress.allow (Envoy's configuration has it, too: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "the public URL takes what is read by it along", change: map[string]string{"public_url": "https://other.example.com", "sessions": "{ttl: 5m}"},
			taken: "sessions.ttl", waiting: "public_url (" + waitsForEnvoy + "), consent_url (" + waitsForEnvoy + "), provider shop (it is read by public_url, consent_url, which waits)"},

		{name: "a development option on", change: map[string]string{"development": "{allow_private_hosts: true}", "log": "{level: debug}"},
			refused: "development.allow_private_hosts is turned on"},
		{name: "an app that turns one on", change: map[string]string{"apps": strings.Replace(base["apps"], "{app_id", "{skip_attestation_verification: true, app_id", 1)},
			refused: "development.skip_attestation_verification is turned on"},
		{name: "no token any more", change: map[string]string{"admin": ""}, refused: "admin.tokens would hold no token"},
		{name: "nobody who may do everything any more", change: map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: approver}, {name: two, token_file: long.token, role: viewer}]}"}, refused: "admin.tokens would hold no token of role admin"},
		{name: "the last who may do everything has expired", change: map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: admin, expires: 2020-01-01T00:00:00Z}]}"}, refused: "admin.tokens would hold no token of role admin any more that has not expired"},
		{name: "another who may do everything", change: map[string]string{"admin": "{tokens: [{name: ops, token_file: admin.token, role: viewer}, {name: two, token_file: long.token, role: admin}]}"}, taken: "admin.tokens"},
		{name: "fewer rules", change: map[string]string{"approval": "{default: approve}"}, taken: "approval", shorter: "approval.rules has 0 in place of 1"},

		{name: "a provider's secret", edit: inProviders(`"client_secret": "secret"`, `"client_secret": "other"`), taken: "provider files"},
		{name: "a provider's server", edit: inProviders("https://files.example.com/token", "https://else.example.com/token"), taken: "provider files"},
		{name: "a provider's API", edit: inProviders(`"client_id"`, `"api_base_url": "https://api.example.com", "client_id"`),
			waiting: "provider files (Envoy's configuration has api_base_url: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "a secret with an API", edit: inProviders(`"client_secret": "secret"`, `"client_secret": "other", "api_base_url": "https://api.example.com"`),
			waiting: "provider files (Envoy's configuration has api_base_url: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "a new provider", edit: inProviders(`{"files"`, `{"more": {"display_name": "More", "available_scopes": ["a:read"], "authorize_endpoint": "https://m.example.com/a", "token_endpoint": "https://m.example.com/t", "client_id": "a", "client_secret": "b"}, "files"`),
			waiting: "provider more (Envoy's configuration has no route for it: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "another name", edit: inProviders(`"files": {`, `"filez": {`), taken: "provider files", shorter: "there is no provider files any more",
			waiting: "provider filez (Envoy's configuration has no route for it: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "no app", change: map[string]string{"apps": ""}, taken: "provider shop", shorter: "there is no provider shop any more"},
		{name: "an app's upstream", change: map[string]string{"apps": strings.Replace(base["apps"], ":3000", ":3001", 1)},
			waiting: "provider shop (Envoy's configuration has upstream: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "an app's hosts", change: map[string]string{"apps": strings.Replace(base["apps"], "[shop.example.com]", "[shop.example.com, b.example.com]", 1)},
			waiting: "provider shop (Envoy's configuration has hosts: athd bootstrap, give it to Envoy, restart athd)"},
		{name: "an app's scopes", change: map[string]string{"apps": strings.Replace(base["apps"], "[products:read]", "[products:read, products:write]", 1)}, taken: "provider shop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := configtest.NewMachine(t)
			before := settingsOf(t, m, base)
			if test.edit != nil {
				test.edit(m)
			}
			parts := maps.Clone(base)
			maps.Copy(parts, test.change)
			read := settingsOf(t, m, parts)
			next, c := Next(routesOf(before), before, read)
			var waiting []string
			for _, w := range c.Waiting {
				waiting = append(waiting, w.String())
			}
			for _, got := range []struct{ what, is, want string }{
				{"taken", strings.Join(c.Taken, ", "), test.taken}, {"waiting", strings.Join(waiting, ", "), test.waiting},
				{"shorter", strings.Join(c.Shorter, ", "), test.shorter},
			} {
				if got.is != got.want {
					t.Errorf("%s: %q, want %q", got.what, got.is, got.want)
				}
			}
			if !strings.Contains(c.Refused, test.refused) || (c.Refused == "") != (test.refused == "") {
				t.Errorf("refused: %q, want %q", c.Refused, test.refused)
			}
			if test.refused != "" && next != before {
				t.Error("a refused set changes something")
			}
			if _, again := Next(routesOf(before), next, read); test.refused == "" && (len(again.Taken) != 0 || len(again.Shorter) != 0 || len(again.Waiting) != len(c.Waiting)) {
				t.Errorf("the same files, once more: %+v", again)
			}
			if _, back := Next(routesOf(before), next, before); test.refused == "" && test.shorter == "" && len(back.Waiting) != 0 {
				t.Errorf("back to what it was waits: %v", back.Waiting)
			}
		})
	}
}

// A token whose time is over is taken out without an operator's word: it was nobody's.
// Whoever runs without an admin is not kept from a change by that.
func TestATokenThatHasExpiredIsNotMissed(t *testing.T) {
	m := configtest.NewMachine(t)
	const old = "{name: ops, token_file: admin.token, role: admin, expires: 2020-01-01T00:00:00Z}"
	both := settingsOf(t, m, map[string]string{"admin": "{tokens: [" + old + ", {name: ops, token_file: long.token, role: admin}]}"})
	one := settingsOf(t, m, map[string]string{"admin": "{tokens: [{name: ops, token_file: long.token, role: admin}]}"})
	if next, c := Next(routesOf(both), both, one); len(next.AdminTokens) != 1 || len(c.Shorter) != 0 || c.Refused != "" {
		t.Errorf("the old token goes: %+v", c)
	}
	if _, c := Next(routesOf(one), both, settingsOf(t, m, map[string]string{"admin": "{tokens: [" + old + "]}"})); c.Refused == "" {
		t.Errorf("the new token goes: %+v", c)
	}
	nobody := settingsOf(t, m, map[string]string{"admin": "{tokens: [" + old + "]}"})
	viewer := settingsOf(t, m, map[string]string{"admin": "{tokens: [{name: vera, token_file: long.token, role: viewer}]}"})
	if next, c := Next(routesOf(nobody), nobody, viewer); c.Refused != "" || next.AdminTokens[0].Name != "vera" {
		t.Errorf("there was no admin before either: %+v", c)
	}
}

func inProviders(old, new string) func(configtest.Machine) {
	return func(m configtest.Machine) {
		was := m.Files["/etc/athd/providers.json"]
		m.Files["/etc/athd/providers.json"] = strings.Replace(was, old, new, 1)
	}
}

// A slip in a file must not end what its provider's users allowed: with the file as
// it was, the provider is there again, and Envoy still leads to it.
func TestAProviderThatCameBackNeedsNoRestart(t *testing.T) {
	m := configtest.NewMachine(t)
	app := `[{app_id: shop, upstream: "http://127.0.0.1:3000", available_scopes: [products:read], oauth: {authorize_endpoint: "https://l.example.com/a", token_endpoint: "https://l.example.com/t", client_id: shop, client_secret: s}}]`
	both, one := settingsOf(t, m, map[string]string{"apps": app}), settingsOf(t, m, nil)
	without, c := Next(routesOf(both), both, one)
	if without.Providers.Get("shop") != nil || len(c.Shorter) != 1 {
		t.Fatalf("%+v", c)
	}
	with, c := Next(routesOf(both), without, both)
	if with.Providers.Get("shop") == nil || len(c.Waiting) != 0 {
		t.Errorf("%+v", c)
	}
	elsewhere := settingsOf(t, m, map[string]string{"apps": strings.Replace(app, ":3000", ":3001", 1)})
	if next, c := Next(routesOf(both), without, elsewhere); next.Providers.Get("shop") != nil || len(c.Waiting) != 1 {
		t.Errorf("an app comes back at another address than Envoy leads to: %+v", c)
	}
	// So in a mesh, whose routes nobody has written again.
	for _, s := range []*Settings{both, without, elsewhere} {
		s.Envoy.Destination = DestinationByHostAndPath
	}
	if next, c := Next(routesOf(both), without, elsewhere); next.Providers.Get("shop") != nil || len(c.Waiting) != 1 {
		t.Errorf("an app comes back at another address than a mesh leads to: %+v", c)
	}
	// And one that a mesh has led to since it came while athd ran.
	routes := routesOf(without)
	with, c = Next(routes, without, both)
	if with.Providers.Get("shop") == nil {
		t.Fatalf("a mesh's app is not taken: %+v", c)
	}
	routes.Add(with.Providers)
	secret := settingsOf(t, m, map[string]string{"apps": strings.Replace(app, "client_secret: s}", "client_secret: other}", 1)})
	secret.Envoy.Destination = DestinationByHostAndPath
	if _, c := Next(routes, with, secret); len(c.Waiting) != 0 || len(c.Taken) != 1 {
		t.Errorf("the secret of an app that came while athd ran: %+v", c)
	}
	if next, c := Next(routes, without, elsewhere); next.Providers.Get("shop") != nil || len(c.Waiting) != 1 {
		t.Errorf("an app that came while athd ran comes back elsewhere: %+v", c)
	}
}

// No run-time provider may be what Envoy listens on after a change, though the rest of
// egress waits for a restart.
//
// proves: A-7
func TestNewListenersOfEnvoyAreItsOwnAtOnce(t *testing.T) {
	m := configtest.NewMachine(t)
	before := settingsOf(t, m, map[string]string{"envoy": "{admin: '10.0.0.1:9901'}"})
	read := settingsOf(t, m, map[string]string{"envoy": "{admin: '10.0.0.1:9902'}", "listen": "{admin: '10.0.0.1:9003'}", "egress": "{allow: [10.0.0.0/8]}"})
	next, _ := Next(routesOf(before), before, read)
	ports := func(s *Settings) (all []uint16) {
		for _, l := range s.Egress.Own {
			all = append(all, l.Port)
		}
		return all
	}
	if got := ports(next); !slices.Contains(got, 9902) || slices.Contains(got, 9003) || len(next.Egress.Allow) != 0 {
		t.Errorf("own ports are %v, and allowed is %v", got, next.Egress.Allow)
	}
	if got := ports(before); slices.Contains(got, 9902) {
		t.Errorf("the settings of before have changed: %v", got)
	}
}

// effectRows are the rows of docs/configuration.md.
var effectRows = map[Effect]string{
	Live: "at once", PerChange: "at once, but for what Envoy's configuration has of them",
	ByEnvoy: "when Envoy has the configuration that `athd bootstrap` prints then", ByItself: "by itself",
	AtRestart: "at a restart", WithEnvoy: "at a restart, and Envoy has to get what `athd bootstrap` prints then", NeverOn: "off at a restart; a set that turns one on is refused",
}

func TestTheDocumentationSaysWhatTakesEffectWhen(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for effect, when := range effectRows {
		var of []string
		for _, s := range settings {
			for _, key := range s.keys {
				if s.effect == effect {
					of = append(of, "`"+strings.TrimSuffix(strings.TrimSuffix(key, "."), "[]")+"`")
				}
			}
		}
		if row := "| " + when + " | " + strings.Join(of, ", ") + " |\n"; !strings.Contains(string(text), row) {
			t.Errorf("there is no row\n%s", row)
		}
	}
}
