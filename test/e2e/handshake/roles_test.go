package handshake

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// operatorTokens has a token of each role, and one whose time is over.
var operatorTokens = []httpapi.AdminToken{
	{Operator: httpapi.Operator{Name: "viv", Role: api.RoleViewer}, Digest: ath.DigestOf(tokenOf("viewer"))},
	{Operator: httpapi.Operator{Name: "vera", Role: api.RoleViewer, SeesUsers: true}, Digest: ath.DigestOf(tokenOf("with `sees_users`"))},
	{Operator: httpapi.Operator{Name: "april", Role: api.RoleApprover}, Digest: ath.DigestOf(tokenOf("approver"))},
	{Operator: httpapi.Operator{Name: "ada", Role: api.RoleAdmin}, Digest: ath.DigestOf(tokenOf("admin"))},
	{Operator: httpapi.Operator{Name: "eva", Role: api.RoleAdmin, Expires: time.Now().Add(-time.Hour)}, Digest: ath.DigestOf(tokenOf("expired"))},
}

func tokenOf(role string) string { return "admin-token-0123456789-of-" + role }

// operators is a world with an operator of each role.
func operators(c *settings) {
	c.AdminTokens = append(slices.Clone(c.AdminTokens), operatorTokens...)
	explains(nil)(c)
	c.Refresh = func(context.Context, *provider.Provider, tokenstore.ConnectionRef) vault.Report {
		return vault.Report{}
	}
}

// A doorRow is a row of the table in docs/operations.md, "Which role opens which
// door".
type doorRow struct {
	door, variant string // "POST /ath/admin/explain", "of a call with a token"
	may           map[string]bool
}

func (r *doorRow) method() string { method, _, _ := strings.Cut(r.door, " "); return method }

// path is the row's path with ids of nothing that is there.
func (r *doorRow) path(a *actor) string {
	_, path, _ := strings.Cut(r.door, " ")
	id, err := ath.ParseAgentID(a.id+"/nobody", true)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer("{client_id}", ath.NewClientID(id).String(), "{connection_id}", ath.NewConnectionID(ath.NewTag()).String(), "{provider_id}", "nothing", "…", "user-1").Replace(path)
}

func (r *doorRow) body() string {
	switch {
	case r.variant == "of a call with a token":
		return `{"method":"GET","url":"/ath/proxy/gallery/x","token":"ath_tk_x"}`
	case strings.HasSuffix(r.door, "/explain"):
		return `{"method":"GET","url":"/ath/proxy/gallery/x"}`
	case strings.HasSuffix(r.door, "/ath/revoke"):
		return `{"token":"ath_tk_x"}`
	case strings.HasSuffix(r.door, "/users/end"):
		return `{"user_id":"nobody"}`
	case strings.HasPrefix(r.door, "POST /ath/admin/providers"), strings.HasPrefix(r.door, "PUT "):
		return `{}`
	case strings.Contains(r.door, "/hosts/"):
		return `{"host":"nobody.example"}`
	}
	return ""
}

// doorTable reads the table.
func doorTable(t *testing.T) (rows []doorRow, roles []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "### Which role opens which door\n")
	if !ok {
		t.Fatal("docs/operations.md has no table of roles and doors")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) != 5 || strings.HasPrefix(cells[0], "---"):
		case cells[0] == "door":
			roles = cells[1:]
		default:
			row := doorRow{may: map[string]bool{}}
			_, rest, _ := strings.Cut(cells[0], "`")
			row.door, row.variant, _ = strings.Cut(rest, "`")
			row.variant = strings.TrimSpace(row.variant)
			for i, cell := range cells[1:] {
				if cell != "–" && !strings.HasPrefix(cell, "yes") {
					t.Fatalf("%s: %q", cells[0], cell)
				}
				row.may[roles[i]] = cell != "–"
			}
			rows = append(rows, row)
		}
	}
	if len(rows) < 20 || len(roles) != 4 {
		t.Fatalf("the table has %d rows and the roles %q", len(rows), roles)
	}
	return rows, roles
}

// The table of the documentation is tried out, door by door and role by role, where
// everybody reaches athd and where operators alone do.
// proves: O-1, V-2
func TestRolesOpenTheDoorsThatTheTableSays(t *testing.T) {
	w := newWorld(t, operators)
	_, own, err := build(w.config)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(own)
	t.Cleanup(srv.Close)
	a := w.actor("a")
	rows, roles := doorTable(t)
	for _, listener := range []struct{ name, url string }{{"public", w.public}, {"admin", srv.URL}} {
		for _, row := range rows {
			ask := func(role string) reply {
				return w.askAt(listener.url, row.method(), row.path(a), row.body(), "X-ATH-User-Token", tokenOf(role))
			}
			for _, role := range roles {
				r := ask(role)
				name := listener.name + ": " + role + ": " + row.door + " " + row.variant
				switch {
				case !row.may[role]:
					if !r.is(http.StatusForbidden, "FORBIDDEN") || !strings.Contains(r.text("message"), "needs") && !strings.Contains(r.text("message"), "sees_users") {
						t.Errorf("%s: %d %s", name, r.status, r.raw)
					}
					id, _ := r.details()["decision_id"].(string)
					if e := w.event(id); e == nil || e["event"] != "access_denied" || e["by"] != nameOf(role) {
						t.Errorf("%s: the event is %v", name, e)
					}
				case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden, r.status == http.StatusMethodNotAllowed, r.status >= 500:
					t.Errorf("%s: %d %s", name, r.status, r.raw)
				case row.method() == "GET" && !strings.Contains(row.door, "{") && r.status != http.StatusOK:
					t.Errorf("%s: %d %s", name, r.status, r.raw)
				}
			}
			for _, nobody := range []string{"expired", "unknown"} {
				r := ask(nobody)
				if r.status == http.StatusTooManyRequests { // the guesses of this address are many
					t.Fatalf("%s: %s", row.door, r.raw)
				}
				if !r.is(http.StatusUnauthorized, "UNAUTHORIZED") || strings.Contains(r.raw, "expired") {
					t.Errorf("%s: %s: %s: %d %s", listener.name, nobody, row.door, r.status, r.raw)
				}
				id, _ := r.details()["decision_id"].(string)
				if e := w.event(id); nobody == "expired" && (e["by"] != "eva" || e["denial_reason"] != "admin token expired") {
					t.Errorf("%s: %s: the log says %v", listener.name, row.door, e)
				}
			}
		}
	}
	t.Run("no other method is one", func(t *testing.T) {
		for _, row := range rows {
			path, _, _ := strings.Cut(row.path(a), "?")
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if slices.ContainsFunc(rows, func(o doorRow) bool { return o.method() == method && sameDoor(o.door, row.door) }) {
					continue
				}
				if r := w.askAt(w.public, method, path, "", "X-ATH-User-Token", tokenOf("admin")); r.status != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %d %s", method, path, r.status, r.raw)
				}
			}
		}
	})
}

func sameDoor(a, b string) bool {
	path := func(door string) string {
		_, path, _ := strings.Cut(door, " ")
		path, _, _ = strings.Cut(path, "?")
		return path
	}
	return path(a) == path(b)
}

func nameOf(role string) string {
	for _, t := range operatorTokens {
		if t.Digest.Matches(tokenOf(role)) {
			return t.Name
		}
	}
	return ""
}

// askAt is ask at another listener than the public one.
func (w *world) askAt(base, method, path, text string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, base+path, strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return w.send(req)
}

// Whoever adds a door says in the table who may open it.
// proves: O-1
func TestTheTableOfRolesHasEveryDoor(t *testing.T) {
	w := newWorld(t, operators)
	server, err := httpapi.New(w.config.serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	operate, err := admin.New(admin.Config{
		Server: server, Providers: w.config.Providers, Attest: w.config.Attest, Policy: w.config.Policy, Explain: w.config.Explain, Refresh: w.config.Refresh, Catalog: w.config.Catalog,
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := doorTable(t)
	has := map[string]bool{}
	for _, row := range rows {
		door, _, _ := strings.Cut(row.door, "?")
		has[door] = true
	}
	for _, door := range operate.Doors() {
		name := door.Method + " " + door.Path
		if !has[name] {
			t.Errorf("docs/operations.md, \"Which role opens which door\", has no row | `%s` | …, which role %s opens", name, door.Least)
		}
		delete(has, name)
	}
	for name := range has {
		t.Errorf("docs/operations.md: there is no %s", name)
	}
}

// Of users a viewer sees none, whatever it asks, unless its token says so.
// proves: O-1
func TestAViewerSeesNoUsers(t *testing.T) {
	w := newWorld(t, operators)
	const user = "user-1"
	a, token := w.live(t, "a")
	connection := connectionOf(t, token)
	w.config.Audit.Refused(audit.Refusal{DecisionID: "dec_x", Code: ath.ScopeNotApproved, AgentID: a.id, ProviderID: "gallery", Method: "GET", Path: "/ath/proxy/gallery/users/" + user}, true)
	w.config.Audit.Refused(audit.Refusal{DecisionID: "dec_y", Code: ath.ScopeNotApproved, AgentID: a.id, ProviderID: "shop", Method: "GET", Path: "/users/" + user}, true)
	ask := func(role, method, path, body string) reply {
		return w.ask(method, path, body, "X-ATH-User-Token", tokenOf(role))
	}
	for _, door := range []struct{ method, path, body string }{
		{"GET", "/ath/admin/whoami", ""}, {"GET", "/ath/admin/agents", ""}, {"GET", a.adminPath(), ""}, {"GET", "/ath/admin/hosts", ""}, {"GET", "/ath/admin/providers", ""},
		{"GET", "/ath/admin/connections", ""}, {"GET", "/ath/admin/connections?provider=gallery", ""}, {"GET", "/ath/admin/connections/" + connection, ""},
		{"GET", "/ath/admin/refusals", ""}, {"GET", "/ath/admin/streams", ""}, {"POST", "/ath/admin/explain", `{"method":"GET","url":"/x"}`},
	} {
		r := ask("viewer", door.method, door.path, door.body)
		if r.status != http.StatusOK || strings.Contains(r.raw, user) {
			t.Errorf("%s %s: %d %s", door.method, door.path, r.status, r.raw)
		}
		seen := ask("with `sees_users`", door.method, door.path, door.body)
		if says := strings.Contains(door.path, "connections") || strings.Contains(door.path, "refusals"); seen.status != http.StatusOK || says && !strings.Contains(seen.raw, user) {
			t.Errorf("with sees_users: %s %s: %d %s", door.method, door.path, seen.status, seen.raw)
		}
	}
	t.Run("that there is a user is said", func(t *testing.T) {
		r := ask("viewer", "GET", "/ath/admin/connections/"+connection, "")
		if hidden, _ := r.json["user_hidden"].(bool); !hidden || r.text("agent_id") != a.id {
			t.Errorf("%s", r.raw)
		}
	})
	t.Run("asking for one does not tell", func(t *testing.T) {
		there, not := ask("viewer", "GET", "/ath/admin/connections?user="+user, ""), ask("viewer", "GET", "/ath/admin/connections?user=nobody", "")
		w.refusedAs(t, there, http.StatusForbidden, "FORBIDDEN")
		if there.text("message") != not.text("message") || there.status != not.status {
			t.Errorf("%s\n%s", there.raw, not.raw)
		}
	})
}
