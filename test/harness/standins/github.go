package standins

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// GitHubUser is the id that GitHub's API gives for the user.
const GitHubUser = "583231"

// GitHub stands in for github.com and api.github.com: scopes are separated by
// commas in the reply, which is a form unless JSON is asked for; an error comes
// with status 200.
func GitHub(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "github", "/login/oauth/authorize", "/login/oauth/access_token", "")
	s.authorize("/login/oauth/authorize", func(q url.Values) (Grant, string) {
		return Grant{"user", fields(q.Get("scope"), " ,")}, ""
	})
	s.mux.HandleFunc("POST /login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) {
		a, token, problem := s.redeem(r, "incorrect_client_credentials", "bad_verification_code")
		members := map[string]any{"access_token": token, "token_type": "bearer", "scope": strings.Join(a.Scopes, ",")}
		if problem != "" {
			members = map[string]any{"error": problem, "error_description": "the code passed is incorrect or expired."}
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			reply(w, http.StatusOK, members)
			return
		}
		form := url.Values{}
		for name, value := range members {
			form.Set(name, value.(string))
		}
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		io.WriteString(w, form.Encode())
	})
	return s
}
