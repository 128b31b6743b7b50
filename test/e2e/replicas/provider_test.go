package replicas

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// A provider is as much of an OAuth server as athd talks to: it redeems any
// code, counts how often, and says who the user is. The user's part, which is
// only between browser and provider, is left out: tests make up the code.
type provider struct {
	mu       sync.Mutex
	redeemed map[string]int
	life     int  // of access tokens, in seconds; 0: an hour
	refresh  bool // it gives refresh tokens
	many     bool // each code is of another user
	users    bool // each code says of which user it is: user.NAME.…
	again    int  // life of refreshed tokens, in seconds; 0: an hour
	revoked  int  // calls of its revocation endpoint

	refreshes, running, atOnce int
	hold                       chan struct{} // the first refresh waits until it is closed
}

// userIn is the part of a code or token that says of which user it is; "": none.
func userIn(text string) string {
	_, rest, ok := strings.Cut(text, "user.")
	if name, _, end := strings.Cut(rest, "."); ok && end {
		return "user." + name + "."
	}
	return ""
}

// refreshed answers a refresh, and counts it.
func (p *provider) refreshed(w http.ResponseWriter, user string) {
	p.mu.Lock()
	p.refreshes++
	p.running++
	p.atOnce = max(p.atOnce, p.running)
	n, hold := p.refreshes, p.hold
	p.mu.Unlock()
	if n == 1 && hold != nil {
		<-hold
	}
	p.mu.Lock()
	p.running--
	life := cmp.Or(p.again, 3600)
	p.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"access_token": "up-" + user + rand.Text(), "token_type": "Bearer", "expires_in": life, "refresh_token": "re-" + user + rand.Text()})
}

func newProvider() *provider { return &provider{redeemed: map[string]int{}} }

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/token":
		if r.PostFormValue("grant_type") == "refresh_token" {
			p.refreshed(w, userIn(r.PostFormValue("refresh_token")))
			return
		}
		user := userIn(r.PostFormValue("code"))
		p.mu.Lock()
		p.redeemed[r.PostFormValue("code")]++
		reply := map[string]any{"access_token": "up-" + user + rand.Text(), "token_type": "Bearer", "expires_in": cmp.Or(p.life, 3600)}
		if p.refresh {
			reply["refresh_token"] = "re-" + user + rand.Text()
		}
		p.mu.Unlock()
		json.NewEncoder(w).Encode(reply)
	case "/userinfo":
		sub := "user-1"
		if p.many {
			sub = "user-" + rand.Text()
		}
		if p.users {
			sub = userIn(r.Header.Get("Authorization"))
		}
		json.NewEncoder(w).Encode(map[string]any{"sub": sub})
	case "/revoke":
		p.mu.Lock()
		p.revoked++
		p.mu.Unlock()
	default:
		http.NotFound(w, r)
	}
}

// timesRefreshed returns how often athd has asked for new tokens.
func (p *provider) timesRefreshed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refreshes
}

// timesRedeemed returns how often athd has sent this code.
func (p *provider) timesRedeemed(code string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.redeemed[code]
}
