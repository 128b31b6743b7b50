package replicas

import (
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
}

func newProvider() *provider { return &provider{redeemed: map[string]int{}} }

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/token":
		p.mu.Lock()
		p.redeemed[r.PostFormValue("code")]++
		p.mu.Unlock()
		json.NewEncoder(w).Encode(map[string]any{"access_token": "up-" + rand.Text(), "token_type": "Bearer", "expires_in": 3600})
	case "/userinfo":
		json.NewEncoder(w).Encode(map[string]any{"sub": "user-1"})
	default:
		http.NotFound(w, r)
	}
}

// timesRedeemed returns how often athd has sent this code.
func (p *provider) timesRedeemed(code string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.redeemed[code]
}
