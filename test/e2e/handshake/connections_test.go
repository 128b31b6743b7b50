package handshake

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/tokenstore"
)

// connectionsOf lists by way of the operator's API, a page at a time.
func (w *world) connectionsOf(t *testing.T, query string) (all []map[string]any) {
	t.Helper()
	for cursor := ""; ; {
		r := w.operate("GET", "/ath/admin/connections?limit=2&"+query+"&cursor="+cursor, "")
		if cursor == "" {
			r = w.operate("GET", "/ath/admin/connections?limit=2&"+query, "")
		}
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		for _, c := range r.list("connections") {
			all = append(all, c.(map[string]any))
		}
		if cursor = r.text("next_cursor"); cursor == "" {
			return all
		}
	}
}

// connectionOf returns the id of the connection behind a token.
func connectionOf(t *testing.T, token string) string {
	t.Helper()
	parsed, err := ath.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return ath.NewConnectionID(parsed.Tag()).String()
}

// O-1: operators see what users allowed, and no token of anybody.
func TestOperatorsSeeWhatUsersAllowed(t *testing.T) {
	w := newWorld(t)
	a, tokenA := w.live(t, "a")
	b, _ := w.live(t, "b")
	b.register("shop", "products:read")
	b.token("shop", "products:read")
	link, _ := b.authorize("gallery", []string{"pictures:read"})
	w.atProvider(w.newBrowser(), link, "bob") // who has not allowed anything yet
	for query, want := range map[string]int{
		"": 3, "agent=" + a.clientID: 1, "agent=" + url.QueryEscape(b.id): 2, "user=user-1": 3, "user=user-1&provider=gallery": 2,
		"user=user-2": 0, "provider=shop": 1, "agent=" + b.clientID + "&provider=shop": 1, "agent=https://nobody.example": 0,
	} {
		if got := w.connectionsOf(t, query); len(got) != want {
			t.Errorf("%q: %d connections, want %d: %v", query, len(got), want, got)
		}
	}
	one := w.connectionsOf(t, "agent="+a.clientID)[0]
	id := one["connection_id"].(string)
	r := w.operate("GET", "/ath/admin/connections/"+id, "")
	for field, want := range map[string]any{
		"agent_id": a.id, "user_id": "user-1", "provider_id": "gallery", "scopes": []any{"pictures:read"}, "state": "live", "tokens": 1., "refreshable": false,
	} {
		if fmt.Sprint(r.json[field]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", field, r.json[field], want)
		}
	}
	for _, field := range []string{"since", "tokens_expire"} {
		if _, err := time.Parse(time.RFC3339, r.text(field)); err != nil {
			t.Errorf("%s is %q", field, r.text(field))
		}
	}
	if !strings.HasPrefix(r.text("end_at_provider"), "nothing: ") || r.text("refresh") == "" {
		t.Error(r.raw)
	}
	list := w.operate("GET", "/ath/admin/connections", "")
	tokens, err := ath.ParseToken(tokenA)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := w.store.Read(t.Context(), tokens, a.id)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{
		"ATH token": tokenA, "access token": reading.Connection.Access.Reveal(), "refresh token": reading.Connection.Refresh.Reveal(),
		"token's digest": tokens.Digest().String(), "oauth secret": oauthSecret,
	} {
		if secret != "" && strings.Contains(r.raw+list.raw+w.log(), secret) {
			t.Errorf("the %s is shown", name)
		}
	}
	for _, bad := range []string{"users=x", "user=", "user=a&user=b", "limit=0", "limit=1001", "provider=nobody", "cursor=x", "agent=" + strings.Repeat("a", 3000), "user=" + strings.Repeat("a", 2000)} {
		w.refusedAs(t, w.operate("GET", "/ath/admin/connections?"+bad, ""), 400, "INVALID_REQUEST")
	}
	w.refusedAs(t, w.operate("GET", "/ath/admin/connections?agent=ath_0123456789abcdef_0123456789abcdefghijkl", ""), 404, "NOT_FOUND")
	w.refusedAs(t, w.operate("GET", "/ath/admin/connections/"+ath.NewConnectionID(ath.NewTag()).String(), ""), 404, "NOT_FOUND")
	for _, c := range [][2]string{{"GET", "/ath/admin/connections"}, {"GET", "/ath/admin/connections/" + id}, {"POST", "/ath/admin/connections/" + id + "/end"}, {"POST", "/ath/admin/users/end"}} {
		w.refusedAs(t, w.ask(c[0], c[1], ""), 401, "UNAUTHORIZED")
	}
}

// V-2, T-5 of operators: what is ended is dead on every replica, once, and is on record.
// proves: V-4
func TestAnOperatorEndsAConnection(t *testing.T) {
	w := newWorld(t)
	other := w.twin()
	a, token := w.live(t, "a")
	second := a.token("gallery", "pictures:read").text("access_token")
	w.live(t, "b")
	path := "/ath/admin/connections/" + connectionOf(t, token)

	since := len(w.log())
	r := w.postTo(other, path+"/end", "", "X-ATH-User-Token", adminToken)
	if r.status != 200 || r.json["ended"] != true || r.text("connection_id") == "" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if got := w.decide(t, a, token); got != authz.TokenRevoked {
		t.Errorf("the token is %s", got)
	}
	if got := w.decide(t, a, second); got != authz.Allowed {
		t.Errorf("the token of another consent is %s", got)
	}
	e := w.eventsOf(since, "connection_ended")
	if len(e) != 1 || e[0]["by"] != "ops" || e[0]["agent_id"] != a.id || e[0]["user_id"] != "user-1" || e[0]["provider_id"] != "gallery" || e[0]["denial_reason"] != "" {
		t.Errorf("U-1: %v", e)
	}
	w.refusedAs(t, w.operate("GET", path, ""), 404, "NOT_FOUND")
	since = len(w.log())
	if r := w.operate("POST", path+"/end", ""); r.status != 200 || r.json["ended"] != false {
		t.Errorf("V-3: %d %s", r.status, r.raw)
	}
	if e := w.eventsOf(since, "connection_ended"); len(e) != 1 || e[0]["denial_reason"] != "unknown connection" {
		t.Errorf("U-1: %v", e)
	}
	w.refusedAs(t, w.operate("POST", path+"/end", `{"x":1}`), 400, "INVALID_REQUEST")
	if all := w.connectionsOf(t, ""); len(all) != 2 {
		t.Errorf("%d connections are left, want 2", len(all))
	}
}

// Somebody leaves.
// proves: V-4
func TestAnOperatorEndsAUser(t *testing.T) {
	w := newWorld(t)
	other := w.twin()
	type one struct {
		a     *actor
		token string
	}
	var alices []one
	for i := range 4 {
		a, token := w.live(t, fmt.Sprint("a", i))
		alices = append(alices, one{a, token})
	}
	shop := alices[0].a
	shop.register("shop", "products:read")
	shop.token("shop", "products:read")
	bob := w.actor("bob")
	bob.register("gallery", "pictures:read")
	bobs := w.tokenFor(bob, "bob")

	late := w.actor("late") // whose user is at the provider when it happens
	late.register("gallery", "pictures:read")
	lateLink, lateSession := late.authorize("gallery", []string{"pictures:read"})
	lateBrowser := w.newBrowser()
	atProvider := w.atProvider(lateBrowser, lateLink, "alice")
	waiting := w.actor("waiting") // has consented, and no token yet
	waiting.register("gallery", "pictures:read")
	link, session := waiting.authorize("gallery", []string{"pictures:read"})
	code := athCode.FindString(w.consent(w.newBrowser(), link).Body)

	since := len(w.log())
	r := w.postTo(other, "/ath/admin/users/end", `{"user_id":"user-1","provider_id":"gallery"}`, "X-ATH-User-Token", adminToken)
	if r.status != 200 || number(r, "ended_connections") != 5 || r.text("next_cursor") != "" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	for i, x := range alices {
		if got := w.decide(t, x.a, x.token); got != authz.TokenRevoked {
			t.Errorf("token %d is %s", i, got)
		}
	}
	if got := w.decide(t, bob, bobs); got != authz.Allowed {
		t.Errorf("another user's token is %s", got)
	}
	if left := w.connectionsOf(t, "user=user-1"); len(left) != 1 || left[0]["provider_id"] != "shop" {
		t.Errorf("left are %v", left)
	}
	if e := w.eventsOf(since, "user_ended"); len(e) != 1 || e[0]["by"] != "ops" || e[0]["user_id"] != "user-1" || e[0]["provider_id"] != "gallery" {
		t.Errorf("U-1: %v", e)
	}
	if e := w.eventsOf(since, "connection_ended"); len(e) != 5 || e[0]["by"] != "ops" || e[0]["agent_id"] == "" {
		t.Errorf("U-1: %d events", len(e))
	}

	t.Run("a consent that has no token yet gets none", func(t *testing.T) {
		w.refusedAs(t, w.post("/ath/token", waiting.exchange(session, code)), 400, "SESSION_NOT_FOUND")
	})
	t.Run("a consent that began before and finishes afterwards is none", func(t *testing.T) {
		page, err := lateBrowser.Submit(t.Context(), atProvider.Form().Click("Allow"))
		if err != nil || athCode.MatchString(page.Body) {
			t.Fatalf("%v %v", page, err)
		}
		refused := w.post("/ath/token", late.exchange(lateSession, "ath_code_x"))
		w.refusedAs(t, refused, 403, "USER_DENIED")
		if refused.details()["reason"] != "user_ended" {
			t.Errorf("the agent is not told why: %s", refused.raw)
		}
		if left := w.connectionsOf(t, "user=user-1"); len(left) != 1 {
			t.Errorf("left are %v", left)
		}
	})
	t.Run("a consent that begins later is a new one", func(t *testing.T) {
		a := alices[0].a
		token := a.token("gallery", "pictures:read").text("access_token")
		if got := w.decide(t, a, token); got != authz.Allowed {
			t.Errorf("the new token is %s", got)
		}
		if got := w.decide(t, a, alices[0].token); got != authz.TokenRevoked {
			t.Errorf("the old token is %s", got)
		}
	})
	t.Run("at all providers", func(t *testing.T) {
		r := w.operate("POST", "/ath/admin/users/end", `{"user_id":"user-1"}`)
		if r.status != 200 || number(r, "ended_connections") != 2 {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if left := w.connectionsOf(t, ""); len(left) != 1 || left[0]["user_id"] != "user-2" {
			t.Errorf("left are %v", left)
		}
		if r = w.operate("POST", "/ath/admin/users/end", `{"user_id":"user-1"}`); r.status != 200 || number(r, "ended_connections") != 0 {
			t.Errorf("again: %d %s", r.status, r.raw)
		}
	})
	for _, bad := range []string{``, `{}`, `{"user_id":""}`, `{"user_id":"a","provider_id":"nobody"}`, `{"user_id":"a","cursor":"x"}`, `{"user_id":"a","providers":[]}`, `{"user_id":"` + strings.Repeat("a", 2000) + `"}`} {
		since := len(w.log())
		w.refusedAs(t, w.operate("POST", "/ath/admin/users/end", bad), 400, "INVALID_REQUEST")
		if e := w.eventsOf(since, "user_ended"); len(e) != 0 {
			t.Errorf("%s: U-1: %v", bad, e)
		}
	}
}

// tokenFor takes a registered actor to a token of a user's.
func (w *world) tokenFor(a *actor, user string) string {
	w.t.Helper()
	link, session := a.authorize("gallery", []string{"pictures:read"})
	b := w.newBrowser()
	page, err := b.Submit(w.t.Context(), w.atProvider(b, link, user).Form().Click("Allow"))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))).text("access_token")
}

// More than one page, and more than one request, of one user.
func TestAUserOfManyConnectionsIsEnded(t *testing.T) {
	w := newWorld(t)
	_, token := w.live(t, "a")
	parsed, err := ath.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	held, err := w.store.Grant(t.Context(), parsed)
	if err != nil {
		t.Fatal(err)
	}
	first := held.Value
	reading, err := w.store.Read(t.Context(), parsed, first.Agent)
	if err != nil {
		t.Fatal(err)
	}
	for range 250 {
		tag := ath.NewTag()
		if err := w.store.PutConnection(t.Context(), tag, *reading.Connection, first.Expires); err != nil {
			t.Fatal(err)
		}
	}
	ended, cursor := 0, ""
	for {
		body, _ := json.Marshal(map[string]string{"user_id": "user-1", "cursor": cursor})
		r := w.operate("POST", "/ath/admin/users/end", string(body))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		ended += number(r, "ended_connections")
		if cursor = r.text("next_cursor"); cursor == "" {
			break
		}
	}
	if ended != 251 {
		t.Errorf("%d connections ended, want 251", ended)
	}
	if left := w.connectionsOf(t, ""); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// Between the look at the mark and the write of the user's tokens somebody ends the
// user, and does not see what is not written yet.
// proves: V-4
func TestAConsentThatMeetsItsUsersEndIsNone(t *testing.T) {
	server := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	open := func(observe func(string, time.Duration, error)) *tokenstore.Store {
		s, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + server.Addr(), Keyset: keys, Timeout: 10 * time.Second, Observe: observe})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	other := open(nil)
	met := 0
	ours := open(func(op string, _ time.Duration, _ error) {
		if op != "user_end" {
			return
		}
		if met++; met > 1 {
			return
		}
		if err := other.EndUser(t.Context(), "user-1", []string{"gallery"}, time.Now()); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, func(c *settings) { c.Store = ours })
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	since := len(w.log())
	page := w.consent(w.newBrowser(), link)
	if athCode.MatchString(page.Body) || met < 2 {
		t.Fatalf("%d looks at the mark: %s", met, page.Text)
	}
	w.refusedAs(t, w.post("/ath/token", a.exchange(session, "ath_code_x")), 403, "USER_DENIED")
	if left := w.connectionsOf(t, ""); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	for _, key := range server.Keys() {
		if strings.HasSuffix(key, ":conn") || strings.HasSuffix(key, ":owner") {
			t.Errorf("%s is left", key)
		}
	}
	if e := w.eventsOf(since, "access_denied"); len(e) == 0 || e[0]["user_id"] != "user-1" {
		t.Errorf("U-1: %v", e)
	}
	if got := w.tokenFor(a, "alice"); got == "" {
		t.Error("a later consent is none either")
	}
}
