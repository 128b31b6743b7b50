package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
)

// adminHandler serves health, readiness and metrics: no secrets, and nothing
// that changes anything. What operators do, if they do it here, is below /ath/
// and wants their tokens.
func adminHandler(r *readiness, m *metrics, operators func() http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+ath.HealthPath, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", r.serveHTTP)
	mux.Handle("GET /metrics", m.handler())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if doors := operators(); doors != nil && strings.HasPrefix(r.URL.Path, ath.PathRoot+"/") { // as it is: the mux would clean it
			doors.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // people copy from it: &ath:* is an ACL rule
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body.Bytes())
}
