package provider_test

import (
	"encoding/json"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

const google = "https://www.googleapis.com/auth/"

// Every preset is what an operator could have written, each of its scopes has
// a page to check it against, and no rule is redundant.
func TestPresetsAreSound(t *testing.T) {
	var names []string
	for _, preset := range provider.Presets() {
		names = append(names, preset.Name)
		t.Run(preset.Name, func(t *testing.T) {
			if again, ok := provider.PresetNamed(preset.Name); !ok || again.Title != preset.Title || preset.Title == "" {
				t.Error("PresetNamed does not find it, or it has no title")
			}
			isPage(t, preset.Documentation)
			for _, page := range preset.Sources {
				isPage(t, page)
			}
			if preset.APIBase == "" {
				if len(preset.Scopes) > 0 || !preset.ByName || len(preset.Sources) == 0 {
					t.Error("it describes no API, and has scopes, is chosen by hosts, or cites nobody")
				}
				return
			}
			var scopes []string
			var rules []map[string]any
			for _, s := range preset.Scopes {
				isPage(t, s.Documentation)
				scopes = append(scopes, s.Scope)
				if len(s.Rules) == 0 {
					t.Errorf("%s opens nothing", s.Scope)
				}
				for _, r := range s.Rules {
					if r.Scope != s.Scope || r.Origin != provider.OriginPreset {
						t.Errorf("%s has a rule of %s from %s", s.Scope, r.Scope, r.Origin)
					}
					rules = append(rules, map[string]any{"scope": r.Scope, "methods": r.Methods, "paths": r.Paths})
				}
			}
			if once, err := ath.ParseScopes(scopes); err != nil || len(once) != len(scopes) {
				t.Error("a scope is malformed or stands twice")
			}
			members, _ := json.Marshal(map[string]any{"available_scopes": scopes, "scope_rules": rules, "api_base_url": preset.APIBase})
			opt := testOptions
			opt.Warn = func(f strict.Fault) { t.Error(f) }
			if _, faults := provider.Parse("f", []byte(oneProvider(string(members[1:len(members)-1]))), opt); faults != nil {
				t.Error(faults)
			}
			// A GraphQL endpoint is one path that reaches everything.
			p := presetProvider(t, preset.Name, scopes, preset.APIBase)
			for _, path := range []string{"/graphql", "/api/graphql", "/v4/graphql"} {
				for _, method := range []string{"GET", "POST"} {
					if scope, ok := p.Permits(method, segments(path), p.Scopes); ok && !slices.Contains([]string{google + "calendar", google + "calendar.readonly", google + "drive"}, scope) {
						t.Errorf("%s %s is open to %s", method, path, scope)
					}
				}
			}
		})
	}
	if want := strings.Fields("auth0 clerk dex entra github github-app gmail google-calendar google-drive keycloak oidc okta slack"); !slices.Equal(names, want) {
		t.Errorf("got %q", names)
	}
	if _, ok := provider.PresetNamed("none"); ok {
		t.Error("there is a preset named none")
	}
}

// Where several presets are at one host, the host alone chooses the habits: it
// must not matter which of them they are taken from.
func TestPresetsAtOneHostSpeakAlike(t *testing.T) {
	habits := map[string]any{}
	shared := 0
	for _, preset := range provider.Presets() {
		text, err := os.ReadFile("presets/" + preset.Name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Hosts  []string
			OAuth  any
			ByName bool `json:"by_name"`
		}
		if err := json.Unmarshal(text, &f); err != nil || len(f.Hosts) == 0 && !f.ByName || f.OAuth == nil {
			t.Fatalf("%s: %+v, %v", preset.Name, f, err)
		}
		if f.ByName {
			continue // no host chooses it
		}
		for _, host := range f.Hosts {
			if other, ok := habits[host]; ok {
				shared++
				if !reflect.DeepEqual(other, f.OAuth) {
					t.Errorf("%s is at %s with another preset, and speaks otherwise", preset.Name, host)
				}
			}
			habits[host] = f.OAuth
		}
	}
	if shared == 0 {
		t.Error("no host is shared: the test compares nothing")
	}
}

func isPage(t *testing.T, page string) {
	t.Helper()
	if u, err := url.Parse(page); err != nil || u.Scheme != "https" || u.Host == "" || u.Path == "" {
		t.Errorf("%q is no page", page)
	}
}

// presetProvider is a provider that names a preset, with its API at base.
func presetProvider(t *testing.T, preset string, scopes []string, base string) *provider.Provider {
	t.Helper()
	members, _ := json.Marshal(map[string]any{"preset": preset, "available_scopes": scopes, "api_base_url": base})
	return parseOne(t, string(members[1:len(members)-1]))
}

// What each preset opens, and what is next to it and closed.
// proves: P-4
func TestPresetRules(t *testing.T) {
	for name, lines := range map[string]string{
		"github": `
			read:user: GET /user, HEAD /user, GET /user/emails, GET /users/octocat/repos | PATCH /user, GET /user/repos, GET /user/emails/x, POST /user/emails, GET /repos/o/r, GET /user/keys, GET /
			user:email: GET /user/emails, GET /user/public_emails | GET /user, POST /user/emails, DELETE /user/emails
			user: PATCH /user, DELETE /user/emails, PUT /user/following/octocat | DELETE /user, GET /user/repos
			repo: GET /user/repos, POST /user/repos, GET /repos/o/r/contents/a/b, PUT /repos/o/r/contents/a, DELETE /repos/o/r/issues/1/lock, GET /search/code, POST /orgs/o/repos | DELETE /user/repos, DELETE /repos/o/r, GET /user, POST /search/code, GET /orgs/o/members, POST /graphql, GET /gists, GET /notifications, GET /user/orgs, GET /
			public_repo: GET /repos/o/r, POST /repos/o/r/issues | DELETE /repos/o/r, GET /gists
			delete_repo: DELETE /repos/o/r | GET /repos/o/r, DELETE /repos/o/r/issues
			repo:status: POST /repos/o/r/statuses/abc, GET /repos/o/r/commits/abc/status | GET /repos/o/r/commits/abc, POST /repos/o/r/deployments
			gist: GET /gists, POST /gists, DELETE /gists/1, PUT /gists/1/star | GET /user, GET /gist, POST /repos/o/r
			read:org: GET /orgs/o/members, GET /user/orgs, GET /user/memberships/orgs/o | POST /orgs/o/repos, DELETE /orgs/o/members/a, PATCH /user/memberships/orgs/o, GET /user
			notifications: GET /notifications, PUT /notifications, PATCH /notifications/threads/1 | POST /notifications, GET /repos/o/r, DELETE /notifications
			workflow: PUT /repos/o/r/contents/.github/workflows/ci.yaml | PUT /repos/o/r/contents/README.md, GET /repos/o/r/actions/secrets
			admin:public_key: POST /user/keys, DELETE /user/keys/1 | GET /user/gpg_keys, DELETE /user/keys`,
		"google-calendar": `
			calendar.readonly: GET /calendars/primary/events, GET /users/me/calendarList, POST /freeBusy | POST /calendars/primary/events, DELETE /calendars/primary, POST /freebusy, PUT /calendars/primary/events/1, PATCH /calendars/primary, POST /calendars
			calendar.events: GET /calendars/primary/events, POST /calendars/primary/events, DELETE /calendars/primary/events/1, POST /calendars/a@b.example/events/1/move | GET /calendars/primary, DELETE /calendars/primary, GET /users/me/calendarList, GET /calendars/primary/acl, POST /calendars
			calendar.events.readonly: GET /calendars/primary/events/1 | POST /calendars/primary/events, GET /calendars/primary
			calendar.freebusy: POST /freeBusy | GET /freeBusy, GET /calendars/primary/events
			calendar.calendarlist.readonly: GET /users/me/calendarList/x | POST /users/me/calendarList, GET /users/me/settings
			calendar: DELETE /calendars/primary/events/1, POST /calendars | OPTIONS /calendars`,
		"gmail": `
			gmail.readonly: GET /users/me/messages, GET /users/me/messages/1/attachments/2, GET /users/me/profile | POST /users/me/messages/send, DELETE /users/me/messages/1, POST /users/me/messages/1/modify, GET /users, GET /users/me
			gmail.send: POST /users/me/messages/send | POST /users/me/messages, GET /users/me/messages, POST /users/me/drafts/send, GET /users/me/messages/send
			gmail.metadata: GET /users/me/messages/1, GET /users/me/labels | GET /users/me/messages/1/attachments/2, GET /users/me/drafts, GET /users/me/settings/filters
			gmail.labels: POST /users/me/labels, DELETE /users/me/labels/1 | GET /users/me/messages, POST /users/me/messages/1/modify
			gmail.compose: POST /users/me/drafts, POST /users/me/drafts/send | GET /users/me/messages, DELETE /users/me/messages/1
			gmail.modify: POST /users/me/messages/1/trash, DELETE /users/me/drafts/1 | DELETE /users/me/messages/1, POST /users/me/messages/batchDelete, DELETE /users/me/threads/1, PUT /users/me/settings/vacation
			gmail.settings.basic: PUT /users/me/settings/vacation | PUT /users/me/settings/autoForwarding, POST /users/me/settings/forwardingAddresses, POST /users/me/settings/delegates`,
		"google-drive": `
			drive.readonly: GET /files, GET /files/1, GET /files/1/export, GET /about | POST /files, DELETE /files/1, PATCH /files/1, POST /files/1/permissions, GET /apps
			drive.metadata.readonly: GET /files, GET /files/1, GET /files/1/permissions | GET /files/1/export, GET /files/1/comments, PATCH /files/1
			drive.file: POST /files, PATCH /files/1, DELETE /files/1/permissions/2 | DELETE /files/trash, DELETE /files/1, POST /drives
			drive: DELETE /files/trash, POST /drives | OPTIONS /files`,
		"slack": `
			channels:read: GET /conversations.list, POST /conversations.info | GET /conversations.history, POST /chat.postMessage, DELETE /conversations.list, GET /conversations.list/x
			channels:history: GET /conversations.history, POST /conversations.replies | POST /conversations.create, GET /conversations.list
			chat:write: POST /chat.postMessage, GET /chat.postMessage, POST /chat.delete | PUT /chat.postMessage, POST /chat.unfurl, POST /users.list, POST /chat.postmessage, GET /search.messages
			users:read: GET /users.list, POST /users.info | POST /chat.delete, GET /users.lookupByEmail, POST /users.profile.set, POST /users.setPresence
			users:read.email: GET /users.lookupByEmail | GET /users.list
			files:read: GET /files.list | POST /files.delete
			reactions:write: POST /reactions.add | GET /reactions.list
			search:read: GET /search.messages | GET /conversations.history`,
	} {
		preset, ok := provider.PresetNamed(name)
		if !ok {
			t.Fatalf("no preset %s", name)
		}
		var scopes []string
		for _, s := range preset.Scopes {
			scopes = append(scopes, s.Scope)
		}
		p := presetProvider(t, name, scopes, preset.APIBase)
		for line := range strings.Lines(strings.TrimSpace(lines)) {
			scope, calls, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if strings.HasPrefix(preset.APIBase, "https://www.googleapis.com/") || name == "gmail" {
				scope = google + scope
			}
			if !p.Scopes.Has(scope) {
				t.Errorf("%s has no scope %s", name, scope)
			}
			open, shut, _ := strings.Cut(calls, " | ")
			for i, list := range []string{open, shut} {
				for call := range strings.SplitSeq(list, ", ") {
					method, path, _ := strings.Cut(call, " ")
					if _, ok := p.Permits(method, segments(path), ath.Scopes{scope}); ok != (i == 0) {
						t.Errorf("P-4: %s: %s with %s: permitted %v", name, call, scope, ok)
					}
				}
			}
		}
	}
}

// Which preset a provider gets, and where its rules begin.
func TestChoiceOfPreset(t *testing.T) {
	const (
		onGoogle = `"authorize_endpoint": "https://accounts.google.com/o/oauth2/v2/auth", "token_endpoint": "https://oauth2.googleapis.com/token", "available_scopes": ["https://www.googleapis.com/auth/calendar.events", "https://www.googleapis.com/auth/drive.readonly", "https://www.googleapis.com/auth/gmail.send"]`
		onGitHub = `"authorize_endpoint": "https://github.com/login/oauth/authorize", "token_endpoint": "https://github.com/login/oauth/access_token", "available_scopes": ["repo", "read:x"]`
	)
	tests := []struct {
		name, members string
		preset        string
		base          string
		open, shut    string // a call that some scope covers, and one that none does; "": none at all
	}{
		{"by hosts", onGitHub + `, "api_base_url": "https://API.github.com."`, "github", "https://API.github.com.", "GET /user/repos", "GET /api.github.com/user/repos"},
		{"by hosts, and its base", onGitHub, "github", "https://api.github.com", "GET /user/repos", "GET /x"},
		{"by the API's host alone", `"api_base_url": "https://slack.com/api", "available_scopes": ["chat:write"]`, "slack", "https://slack.com/api", "POST /chat.postMessage", "GET /users.list"},
		{"none", onGitHub + `, "preset": "none", "api_base_url": "https://api.github.com"`, "", "https://api.github.com", "", "GET /user/repos"},
		{"an API of one's own behind GitHub's OAuth", onGitHub + `, "api_base_url": "https://api.example"`, "github", "https://api.example", "", "GET /user/repos"},
		{"a mirror by name", onGitHub + `, "preset": "github", "api_base_url": "https://ghe.example/api/v3"`, "github", "https://ghe.example/api/v3", "GET /user/repos", "GET /api/v3/user/repos"},
		{"above the preset's base", `"preset": "slack", "api_base_url": "https://slack.com", "available_scopes": ["chat:write"]`, "slack", "https://slack.com", "POST /api/chat.postMessage", "POST /chat.postMessage"},
		{"below the preset's base", onGitHub + `, "api_base_url": "https://api.github.com/repos/o"`, "github", "https://api.github.com/repos/o", "PUT /r/contents/a", "DELETE /r"},
		{"below it, where a star stood", onGoogle + `, "api_base_url": "https://www.googleapis.com/calendar/v3/calendars/primary"`, "google-calendar", "https://www.googleapis.com/calendar/v3/calendars/primary", "POST /events", "GET /calendars/primary/events"},
		{"beside the preset's base", onGitHub + `, "api_base_url": "https://uploads.github.com"`, "github", "https://uploads.github.com", "", "GET /repos/o/r"},
		{"Google: by the API's path: calendar", onGoogle + `, "api_base_url": "https://www.googleapis.com/calendar/v3/"`, "google-calendar", "https://www.googleapis.com/calendar/v3", "POST /calendars/a/events", "GET /files"},
		{"Google: by the API's path: drive", onGoogle + `, "api_base_url": "https://www.googleapis.com/drive/v3"`, "google-drive", "https://www.googleapis.com/drive/v3", "GET /files", "POST /calendars/a/events"},
		{"Google: by the API's path: gmail's other place", onGoogle + `, "api_base_url": "https://www.googleapis.com/gmail/v1"`, "gmail", "https://www.googleapis.com/gmail/v1", "POST /users/me/messages/send", "GET /users/me/messages"},
		{"Google: by the API's host: gmail", onGoogle + `, "api_base_url": "https://gmail.googleapis.com"`, "gmail", "https://gmail.googleapis.com", "POST /gmail/v1/users/me/messages/send", "POST /users/me/messages/send"},
		{"Google: above several APIs", onGoogle + `, "api_base_url": "https://www.googleapis.com"`, "", "https://www.googleapis.com", "", "GET /drive/v3/files"},
		{"Google: above several APIs, by name", onGoogle + `, "preset": "google-drive", "api_base_url": "https://www.googleapis.com"`, "google-drive", "https://www.googleapis.com", "GET /drive/v3/files", "POST /calendar/v3/calendars/a/events"},
		{"Google: an API that no preset knows", onGoogle + `, "api_base_url": "https://people.googleapis.com/v1"`, "", "https://people.googleapis.com/v1", "", "GET /files"},
		{"Google: another path", onGoogle + `, "api_base_url": "https://www.googleapis.com/calendar/v30"`, "", "https://www.googleapis.com/calendar/v30", "", "POST /calendars/a/events"},
		{"Google: no base", onGoogle, "", "https://accounts.google.com", "", "GET /files"},
		{"Google: by name, and its base", onGoogle + `, "preset": "gmail"`, "gmail", "https://gmail.googleapis.com/gmail/v1", "POST /users/me/messages/send", "GET /x"},
		{"nobody's host", `"available_scopes": ["repo"]`, "", "https://as.example", "", "GET /user/repos"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := parseOne(t, tt.members)
			if p.Preset != tt.preset || p.APIBase.String() != tt.base {
				t.Errorf("got preset %q and base %s", p.Preset, p.APIBase)
			}
			if p.Derived != (tt.name == "nobody's host") {
				t.Errorf("derived %v", p.Derived)
			}
			for i, call := range []string{tt.open, tt.shut} {
				method, path, some := strings.Cut(call, " ")
				if scope, ok := p.Permits(method, segments(path), p.Scopes); some && ok != (i == 0) {
					t.Errorf("P-4: %s: got %q", call, scope)
				}
			}
			if tt.open == "" && len(p.Rules) != 0 {
				t.Errorf("there are rules: %v", p.Rules)
			}
		})
	}
	t.Run("scope_rules win", func(t *testing.T) {
		p := parseOne(t, onGitHub+`, "scope_rules": [{"scope": "repo", "methods": ["GET"], "paths": ["/only"]}]`)
		if p.Preset != "github" || len(p.Rules) != 1 || p.Rules[0].Origin != provider.OriginScopeRules || p.UserIDField != "id" {
			t.Errorf("got %+v", p)
		}
		if p := parseOne(t, onGitHub+`, "scope_rules": []`); len(p.Rules) != 0 {
			t.Error("an empty scope_rules is a statement, but the preset's rules apply")
		}
	})
	t.Run("where rules are from", func(t *testing.T) {
		if p := parseOne(t, onGitHub); p.Rules[0].Origin != provider.OriginPreset {
			t.Errorf("got %q", p.Rules[0].Origin)
		}
		if p := parseOne(t, ""); p.Rules[0].Origin != provider.OriginDerived {
			t.Errorf("got %q", p.Rules[0].Origin)
		}
	})
	t.Run("what the operator writes wins over a habit", func(t *testing.T) {
		p := parseOne(t, onGoogle+`, "extra_authorize_params": {"prompt": "select_account", "access_type": "", "hd": "example.com"}, "issuer": "", "preset": "gmail"`)
		if len(p.ExtraAuthz) != 2 || p.ExtraAuthz["prompt"] != "select_account" || p.ExtraAuthz["hd"] != "example.com" || p.Issuer != "" {
			t.Errorf("got %v, issuer %q", p.ExtraAuthz, p.Issuer)
		}
		if p := parseOne(t, onGoogle); p.Issuer != "https://accounts.google.com" || p.ExtraAuthz["access_type"] != "offline" || p.ExtraAuthz["prompt"] != "consent" {
			t.Errorf("Google's habits without a word of the operator's: issuer %q, %v", p.Issuer, p.ExtraAuthz)
		}
		p = parseOne(t, onGitHub+`, "user_id_field": "node_id", "scope_separator": ","`)
		if p.UserIDField != "node_id" || p.Separator != "," || p.UserinfoURL.String() != "https://api.github.com/user" {
			t.Errorf("got %+v", p)
		}
		if p := parseOne(t, onGitHub+`, "userinfo_endpoint": "", "user_id_field": ""`); p.UserinfoURL != nil || p.UserIDField != "" {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a token of another server is not sent to the service", func(t *testing.T) {
		p := parseOne(t, `"preset": "github", "api_base_url": "https://ghe.example/api/v3"`)
		if p.UserinfoURL.String() != "https://ghe.example/api/v3/user" {
			t.Errorf("the user is asked for at %s", p.UserinfoURL)
		}
		if p := parseOne(t, `"preset": "gmail", "api_base_url": "https://mail.example"`); p.Issuer != "" {
			t.Errorf("the issuer is %s", p.Issuer)
		}
	})
}

func TestPresetFaults(t *testing.T) {
	for _, tt := range []struct{ name, members, want string }{
		{"unknown", `"preset": "GitHub"`, "f:2:1: preset: want one of auth0, clerk, dex, entra, github, github-app, gmail, google-calendar, google-drive, keycloak, oidc, okta, slack or none"},
		{"beside the base", `"preset": "gmail", "api_base_url": "https://www.googleapis.com/drive/v3"`, "f:2:20: api_base_url: the rules of preset gmail are written for https://gmail.googleapis.com/gmail/v1, and this is neither above nor below it"},
		{"at another API of Google's", `"preset": "google-calendar", "api_base_url": "https://people.googleapis.com"`, "f:2:30: api_base_url: the rules of preset google-calendar are written for https://www.googleapis.com/calendar/v3, and this is neither above nor below it"},
		{"at another service", `"preset": "slack", "api_base_url": "https://api.github.com"`, "f:2:20: api_base_url: the rules of preset slack are written for https://slack.com/api, and this is neither above nor below it"},
		{"another server's token for the service's API", `"preset": "github"`, "f:1:2: api_base_url: is missing: token_endpoint is not at a host of preset github"},
		{"scopes of other grants", `"preset": "gmail", "api_base_url": "https://m.example", "extra_authorize_params": {"include_granted_scopes": "true"}`, "f:2:84: extra_authorize_params.include_granted_scopes: preset gmail rules this parameter out"},
		{"scopes of other grants, in the endpoint", `"authorize_endpoint": "https://accounts.google.com/auth?include_granted_scopes=true"`, "f:2:1: authorize_endpoint: the query contains include_granted_scopes, which preset gmail rules out"},
		{"user_scope", `"preset": "slack", "api_base_url": "https://s.example", "extra_authorize_params": {"user_scope": "admin"}`, "f:2:84: extra_authorize_params.user_scope: preset slack rules this parameter out"},
		{"token_kind", `"preset": "slack", "api_base_url": "https://s.example", "token_kind": "Bot"`, "f:2:57: token_kind: want user or bot"},
		{"token_kind of GitHub", `"preset": "github", "api_base_url": "https://g.example", "token_kind": "bot"`, "f:2:58: token_kind: the service of preset github has one kind of tokens only"},
		{"token_kind of nobody", `"token_kind": "bot"`, "f:2:1: token_kind: is for presets of services that have several kinds of tokens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, faults := provider.Parse("f", []byte(oneProvider(tt.members)), testOptions)
			if all != nil || faults.Error() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", faults, tt.want)
			}
		})
	}
}

// An app's API is the operator's own: a preset says how its OAuth server
// speaks, and nothing of what scopes open.
func TestAppBehindAPresetsOAuthServer(t *testing.T) {
	const app = `apps:
- app_id: shop
  upstream: http://127.0.0.1:3000
  available_scopes: ["repo"]
  oauth: {authorize_endpoint: "https://github.com/login/oauth/authorize", token_endpoint: "https://github.com/login/oauth/access_token", client_id: a, client_secret: b%s}
`
	for more, want := range map[string]string{"": "github", ", preset: github": "github", ", preset: none": ""} {
		all, faults := parseApps(t, strings.ReplaceAll(app, "%s", more))
		if faults != nil {
			t.Fatal(faults)
		}
		p := all[0]
		if p.Preset != want || len(p.Rules) != 0 || p.Derived {
			t.Errorf("%q: got preset %q, rules %v, derived %v", more, p.Preset, p.Rules, p.Derived)
		}
		if asked := p.UserinfoURL != nil && p.UserinfoURL.String() == "https://api.github.com/user"; asked != (want != "") {
			t.Errorf("%q: the user is asked for at %v", more, p.UserinfoURL)
		}
	}
}
