// Package presets takes calls to the services that have presets through a real
// Envoy, Redis and athd: what a scope covers arrives with the user's token,
// what stands next to it does not. Stand-ins play the services. They are on
// the loopback interface, so that each provider names its preset.
package presets

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

func TestMain(m *testing.M) { stage.Main(m) }

const google = "https://www.googleapis.com/auth/"

// An errand is what an agent does with one scope at one provider. Calls are
// written below the API's base, one per line.
type errand struct {
	provider, scope string
	pass, refused   string
}

var errands = []errand{
	{"github", "read:user", `
		GET /user
		HEAD /user
		GET /user/emails
		GET /users/octocat/repos?page=2`, `
		PATCH /user
		GET /user/emails/extra
		GET /user/
		GET /user/repos
		GET /user/keys
		POST /user/emails
		GET /repos/octocat/hello
		GET /
		POST /graphql
		GET /graphql`},
	{"github", "repo", `
		GET /user/repos?visibility=private
		GET /repos/octocat/hello/contents/a/b
		GET /repos/octocat/hello/contents/C%23/100%25.md
		GET /repos/octocat/hello/labels/why%3F
		POST /repos/octocat/hello/issues
		DELETE /repos/octocat/hello/issues/1/lock`, `
		DELETE /user/repos
		DELETE /repos/octocat/hello
		GET /user
		GET /user/orgs
		GET /gists
		GET /notifications
		POST /search/code
		GET /orgs/github/members
		POST /graphql`},
	{"google-calendar", google + "calendar.readonly", `
		GET /calendars/primary/events?timeMin=2026-01-01T00:00:00Z
		GET /calendars/en.usa%23holiday%40group.v.calendar.google.com/events
		GET /calendars/%23contacts%40group.v.calendar.google.com
		GET /users/me/calendarList
		POST /freeBusy`, `
		POST /calendars/primary/events
		POST /calendars/en.usa%23holiday%40group.v.calendar.google.com/events
		PUT /calendars/primary/events/1
		PATCH /calendars/primary/events/1
		DELETE /calendars/primary/events/1
		POST /calendars
		DELETE /calendars/primary
		POST /calendars/primary/clear
		POST /freeBusy/extra`},
	{"google-calendar", google + "calendar.events", `
		POST /calendars/primary/events
		DELETE /calendars/primary/events/1`, `
		GET /calendars/primary
		DELETE /calendars/primary
		GET /users/me/calendarList
		GET /users/me/settings
		POST /calendars
		GET /calendars/primary/acl
		POST /freeBusy
		POST /calendars/primary/clear`},
	{"gmail", google + "gmail.send", `
		POST /users/me/messages/send`, `
		GET /users/me/messages/send
		GET /users/me/messages
		POST /users/me/messages
		POST /users/me/drafts/send
		DELETE /users/me/messages/1
		GET /users/me/profile
		POST /users/me/messages/send/extra
		GET /users/me/settings/filters`},
	{"google-drive", google + "drive.readonly", `
		GET /files?q=name
		GET /files/1/export?mimeType=text/plain`, `
		POST /files
		PATCH /files/1
		DELETE /files/1
		DELETE /files/trash
		POST /files/1/permissions
		POST /files/1/copy
		POST /drives
		GET /apps`},
	{"slack", "chat:write", `
		POST /chat.postMessage
		GET /chat.postMessage?channel=C1&text=hello`, `
		PUT /chat.postMessage
		POST /chat.postMessage/extra
		POST /chat.postmessage
		POST /users.list
		GET /conversations.list
		GET /conversations.history
		POST /files.delete
		POST /admin.users.list
		GET /auth.test`},
	{"slack", "users:read", `
		GET /users.list
		POST /users.info`, `
		POST /chat.delete
		POST /chat.postMessage
		GET /users.lookupByEmail
		POST /users.profile.set
		POST /users.setPresence
		GET /conversations.list
		DELETE /users.list
		GET /`},
}

// proves: P-4, P-5
func TestPresetsThroughEnvoy(t *testing.T) {
	servers := map[string]*standins.Server{
		"github": standins.GitHub(t), "slack": standins.Slack(t), "google-calendar": standins.Google(t, "google-calendar"),
		"gmail": standins.Google(t, "gmail"), "google-drive": standins.Google(t, "google-drive"),
	}
	providers := map[string]any{}
	for id, s := range servers {
		var scopes []string
		for _, e := range errands {
			if e.provider == id {
				scopes = append(scopes, e.scope)
			}
		}
		providers[id] = s.Fields(scopes, nil)
	}
	st := stage.Start(t, stage.Options{Mode: "gateway", Providers: providers})
	for _, e := range errands {
		t.Run(e.provider+" "+strings.TrimPrefix(e.scope, google), func(t *testing.T) {
			token := st.Token(st.NewAgent(strings.NewReplacer(":", "-", "/", "-").Replace(e.provider+e.scope)), e.provider, e.scope)
			if !slices.Equal(token.Scopes, []string{e.scope}) {
				t.Fatalf("the token has %q", token.Scopes)
			}
			server := servers[e.provider]
			base := strings.TrimPrefix(server.APIBase, server.URL)
			for i, calls := range []string{e.pass, e.refused} {
				for call := range strings.Lines(strings.TrimSpace(calls)) {
					method, target, _ := strings.Cut(strings.TrimSpace(call), " ")
					server.Forget()
					status := send(t, st, method, "/ath/proxy/"+e.provider+target, token.Access.Reveal(), token.AgentID)
					seen := server.Requests()
					if i == 1 {
						if status != http.StatusForbidden || len(seen) != 0 {
							t.Errorf("P-4: %s %s was answered with %d, and the API saw %v", method, target, status, seen)
						}
						continue
					}
					if status != http.StatusOK || len(seen) != 1 || seen[0].Method != method || seen[0].Target != base+target {
						t.Errorf("P-4: %s %s was answered with %d, and the API saw %v", method, target, status, seen)
						continue
					}
					if grant, ok := server.Grant(seen[0].Token); !ok || grant.Kind != "user" || !slices.Contains(grant.Scopes, e.scope) {
						t.Errorf("P-5: %s %s: the API saw %q, which is not the user's token", method, target, seen[0].Token)
					}
				}
			}
		})
	}
}

func send(t *testing.T, st *stage.Stage, method, path, token, agentID string) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, st.Public+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-ATH-Agent-ID", agentID)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
