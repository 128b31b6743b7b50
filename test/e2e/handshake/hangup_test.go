package handshake

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A browser that hangs up while the provider's code is redeemed spends nothing:
// the code counts once, and the browser finds the end when it comes back.
// N-5; proves: C-1
func TestABrowserThatHangsUpFindsTheEndLater(t *testing.T) {
	w, asked, release := newWorldOfSlowTokens(t)
	a := w.actor("hung-up")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	b, back := w.heldBack(link, "Allow")

	// A replica that tells when it has seen the browser go.
	companion, _, err := build(w.config)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{}, 8)
	replica := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { gone <- struct{}{} })
		companion.ServeHTTP(rw, r)
	}))
	t.Cleanup(replica.Close)
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Replace(back, w.public, replica.URL, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = strings.TrimPrefix(w.public, "http://")
	at, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Cookies(at) {
		req.AddCookie(c)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-asked
	hangUp()
	<-ended
	<-gone
	close(release)

	var page reply
	code := ""
	for end := time.Now().Add(20 * time.Second); code == ""; time.Sleep(20 * time.Millisecond) {
		r := w.once(b, back)
		page = w.once(b, w.public+r.header.Get("Location"))
		code = athCode.FindString(page.raw)
		if code == "" && (time.Now().After(end) || page.status != http.StatusOK) {
			t.Fatalf("C-1: the browser that comes back is shown %d %s", page.status, page.raw)
		}
	}
	if len(asked) != 0 {
		t.Error("C-1: the provider's code was sent twice")
	}
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != http.StatusOK {
		t.Errorf("C-1: the code that the page shows: %d %s", r.status, r.raw)
	}
}

// What a user has consented to and no agent fetches goes with the session.
// N-5; proves: Z-4
func TestAConnectionThatNobodyRedeemsEndsWithItsSession(t *testing.T) {
	server := miniredis.RunT(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *settings) {
		c.Store, err = tokenstore.Open(tokenstore.Config{URL: "redis://" + server.Addr(), Keyset: keys, Now: c.Now, Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { w.config.Store.Close() })
	a := w.actor("never-fetched")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	if page := w.consent(w.newBrowser(), link); !athCode.MatchString(page.Body) {
		t.Fatalf("no consent: %d %s", page.Status, page.Text)
	}
	id, err := ath.ParseSessionID(session)
	if err != nil {
		t.Fatal(err)
	}
	held, err := w.config.Store.Session(t.Context(), id.Tag())
	if err != nil {
		t.Fatal(err)
	}
	left := server.TTL("ath:{" + string(held.Value.Connection) + "}:conn")
	if left <= 0 || left > 10*time.Minute {
		t.Errorf("Z-4: the connection goes in %v, the session ends within 10 minutes", left)
	}
	server.FastForward(10 * time.Minute)
	for _, key := range server.Keys() {
		if strings.HasSuffix(key, "}:conn") {
			t.Errorf("Z-4: %s is there after the session's end", key)
		}
	}
}
