package handshake

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

// S-10
// proves: O-1, V-2
func TestOperatorsCanHaveADoorOfTheirOwn(t *testing.T) {
	w := newWorld(t, operators, func(c *settings) { c.AdminPrivate = true })
	_, own, err := build(w.config)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(own)
	t.Cleanup(srv.Close)
	a, token := w.live(t, "a")
	b, other := w.live(t, "b")
	doors := []string{
		"PUT /ath/admin/agents", "GET /ath/admin/", "GET " + a.adminPath(), "DELETE " + a.adminPath(), "POST " + a.adminPath() + "/approve", "POST " + a.adminPath() + "/suspend",
	}
	table, _ := doorTable(t)
	for _, row := range table {
		if row.door != "POST /ath/revoke" {
			doors = append(doors, row.method()+" "+row.path(a))
		}
	}
	t.Run("on the other door they are nobody", func(t *testing.T) {
		for _, door := range doors {
			method, path, _ := strings.Cut(door, " ")
			for _, with := range [][]string{nil, {"X-ATH-User-Token", adminToken}, {"Authorization", "Bearer " + adminToken}} {
				w.refusedAs(t, w.ask(method, path, "", with...), http.StatusNotFound, "NOT_FOUND")
			}
		}
		r := w.post("/ath/revoke", body{"token": token}, "X-ATH-User-Token", adminToken)
		w.refusedAs(t, r, http.StatusUnauthorized, "UNAUTHORIZED")
		if got := w.decide(t, a, token); got != authz.Allowed {
			t.Errorf("the token is %s", got)
		}
	})
	at := func(method, path, text string, headers ...string) reply {
		t.Helper()
		req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Add(headers[i], headers[i+1])
		}
		return w.send(req)
	}
	t.Run("on their own nobody else is somebody", func(t *testing.T) {
		for _, path := range []string{"/ath/agents/register", "/ath/token", "/.well-known/ath.json", "/ath/consent/start", a.path(), "/ath/admin/../admin/agents", "/ath/admin/agents%2f", "/ath/admin%2fagents"} {
			w.refusedAs(t, at("GET", path, "", "X-ATH-User-Token", adminToken), http.StatusNotFound, "NOT_FOUND")
		}
		w.refusedAs(t, at("GET", "/ath/admin/agents", ""), http.StatusUnauthorized, "UNAUTHORIZED")
		w.refusedAs(t, at("POST", "/ath/admin/agents", ""), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
		credentials := `{"client_id":"` + a.clientID + `","client_secret":"` + a.secret + `","token":"` + token + `"}`
		w.refusedAs(t, at("POST", "/ath/revoke", credentials), http.StatusUnauthorized, "UNAUTHORIZED")
	})
	t.Run("there they find every door", func(t *testing.T) {
		none := at("GET", "/ath/admin/nothing", "", "X-ATH-User-Token", adminToken).text("message")
		for _, row := range table {
			r := at(row.method(), row.path(a), "", "X-ATH-User-Token", adminToken)
			if r.status == http.StatusUnauthorized || r.status == http.StatusMethodNotAllowed || r.text("message") == none {
				t.Errorf("%s: %d %s", row.door, r.status, r.raw)
			}
		}
	})
	t.Run("there they do all that they do", func(t *testing.T) {
		if r := at("GET", "/ath/admin/agents", "", "X-ATH-User-Token", adminToken); r.status != http.StatusOK || !strings.Contains(r.raw, a.clientID) {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if r := at("POST", "/ath/revoke", `{"token":"`+token+`"}`, "Authorization", "Bearer "+adminToken); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if r := at("POST", b.adminPath()+"/suspend", "", "X-ATH-User-Token", adminToken); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if got := w.decide(t, a, token); got != authz.TokenRevoked {
			t.Errorf("the revoked token is %s", got)
		}
		if got := w.decide(t, b, other); got == authz.Allowed {
			t.Errorf("the suspended agent's token is %s", got)
		}
	})
	t.Run("an agent revokes its own token where agents do", func(t *testing.T) {
		if r := w.post("/ath/revoke", body{"client_id": a.clientID, "client_secret": a.secret, "token": token}); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
}

// An admin token is nothing special on a listener where no operator is served:
// it is counted like any other request, so that nobody can tell there that it is one.
func TestOperatorsOfAnotherListenerAreCountedLikeOthers(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{PerAddress: ratelimit.Rate{N: 1, Per: time.Minute}}), func(c *settings) { c.AdminPrivate = true })
	ask := func() reply { return w.post("/ath/revoke", body{"token": "x"}, "X-ATH-User-Token", adminToken) }
	w.refusedAs(t, ask(), http.StatusUnauthorized, "UNAUTHORIZED")
	w.tooMany(t, ask())
}

// proves: O-1
func TestEveryRouteOfOperatorsWantsAnAdminToken(t *testing.T) {
	w := newWorld(t, explains(nil))
	server, err := httpapi.New(w.config.serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	operate, err := admin.New(admin.Config{
		Server: server, Providers: w.config.Providers, Attest: w.config.Attest, Policy: w.config.Policy, Explain: w.config.Explain,
	})
	if err != nil {
		t.Fatal(err)
	}
	companion, operators, err := build(w.config)
	if err != nil {
		t.Fatal(err)
	}
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	routes := []string{"POST /ath/revoke"}
	for path, methods := range operate.Routes().Paths {
		for method := range methods {
			routes = append(routes, method+" "+path)
		}
	}
	for around, methods := range operate.Routes().ByID {
		for method := range methods {
			id := a.clientID
			if around[0] == ath.AdminConnectionsPath+"/" {
				id = ath.NewConnectionID(ath.NewTag()).String()
			}
			routes = append(routes, method+" "+around[0]+id+around[1])
		}
	}
	if len(routes) < 17 {
		t.Fatalf("too few routes: %v", routes)
	}
	slices.Sort(routes)
	ask := func(h http.Handler, route string, headers ...string) int {
		method, path, _ := strings.Cut(route, " ")
		req := httptest.NewRequest(method, path, strings.NewReader(`{}`))
		req.RemoteAddr = "127.0.0.1:1" // whose wrong tokens are not counted
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Add(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code
	}
	for name, listener := range map[string]http.Handler{"the public listener": companion, "the admin listener": operators} {
		for _, route := range routes {
			for key, headers := range map[string][]string{
				"no token": nil, "a wrong one": {"X-ATH-User-Token", adminToken + "x"}, "two": {"X-ATH-User-Token", adminToken, "X-ATH-User-Token", adminToken},
				"the agent's secret": {"Authorization", "Bearer " + a.secret},
			} {
				if status := ask(listener, route, headers...); status != http.StatusUnauthorized {
					t.Errorf("%s on %s with %s: %d", route, name, key, status)
				}
			}
		}
	}
	for name, listener := range map[string]http.Handler{"the public listener": companion, "the admin listener": operators} {
		for _, route := range routes { // some have taken away what others are about: 404 will do
			if status := ask(listener, route, "X-ATH-User-Token", adminToken); status == http.StatusUnauthorized || status == http.StatusMethodNotAllowed {
				t.Errorf("%s on %s with an admin token: %d", route, name, status)
			}
		}
	}
}
