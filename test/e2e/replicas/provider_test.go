package replicas

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
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
	revoked  int  // calls of its revocation endpoint

	refreshes, running, atOnce int
	hold                       chan struct{} // the first refresh waits until it is closed
}

// refreshed answers a refresh, and counts it.
func (p *provider) refreshed(w http.ResponseWriter) {
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
	p.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"access_token": "up-" + rand.Text(), "token_type": "Bearer", "expires_in": 3600, "refresh_token": "re-" + rand.Text()})
}

func newProvider() *provider { return &provider{redeemed: map[string]int{}} }

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/token":
		if r.PostFormValue("grant_type") == "refresh_token" {
			p.refreshed(w)
			return
		}
		p.mu.Lock()
		p.redeemed[r.PostFormValue("code")]++
		reply := map[string]any{"access_token": "up-" + rand.Text(), "token_type": "Bearer", "expires_in": cmp.Or(p.life, 3600)}
		if p.refresh {
			reply["refresh_token"] = "re-" + rand.Text()
		}
		p.mu.Unlock()
		json.NewEncoder(w).Encode(reply)
	case "/userinfo":
		sub := "user-1"
		if p.many {
			sub = "user-" + rand.Text()
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
