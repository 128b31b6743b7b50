package oauthserver

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// serveIntrospect tells an API what [Server.Lookup] knows of a token
// (RFC 7662): nothing but "no" of one that is unknown or over.
func (s *Server) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !s.fromAPI(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="introspection"`)
		http.Error(w, "only APIs may ask", http.StatusUnauthorized)
		return
	}
	reply := map[string]any{"active": false}
	if user, scopes, ok := s.Lookup(r.PostFormValue("token")); ok {
		reply = map[string]any{"active": true, "sub": user, "scope": strings.Join(scopes, " ")}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // the API has gone; nobody is left to tell
}

// fromAPI reports whether one of the APIs asks.
func (s *Server) fromAPI(r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	if !ok || secret == "" {
		return false
	}
	known := false
	for _, api := range s.config.APIs {
		if api.ID == id && subtle.ConstantTimeCompare([]byte(api.Secret), []byte(secret)) == 1 {
			known = true
		}
	}
	return known
}
