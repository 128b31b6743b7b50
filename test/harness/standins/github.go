package standins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// GitHubUser is the id that GitHub's API gives for the user.
const GitHubUser = "583231"

// What GitHub's pages say.
//
//	https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
//	https://docs.github.com/en/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors
//	https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens
const (
	gitHubBadCode    = "bad_verification_code"        // "Bad verification code", with status 200
	gitHubBadClient  = "incorrect_client_credentials" // "Incorrect client credentials", with status 200
	gitHubBadRefresh = "bad_refresh_token"            // of GitHub Apps, with status 200
)

// GitHub stands in for github.com and api.github.com, and an OAuth app: scopes
// are separated by commas in the reply, which is a form unless JSON is asked for
// ("By default, the response takes the following form … You can also receive the
// response in different formats if you provide the format in the Accept header");
// an error comes with status 200; a token never ends, and there is no refresh
// token.
func GitHub(t testing.TB) *Server {
	t.Helper()
	return gitHub(t, "github", func(_ *Server, token string, scopes []string) map[string]any {
		return map[string]any{"access_token": token, "token_type": "bearer", "scope": strings.Join(scopes, ",")}
	}, nil)
}

// gitHubApp: "The user access token expires after eight hours, and the refresh
// token expires after six months. … Once you use a refresh token, that refresh
// token and the old user access token will no longer work."
//
//	https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens
var gitHubApp = rotation{accessEnds: true, documented: 28800 * time.Second, refreshLife: 15897600 * time.Second}

// GitHubApp stands in for GitHub and a GitHub App whose user tokens expire. It
// has permissions and no scopes: "scope … The value of this parameter will always
// be an empty string".
//
//	https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
func GitHubApp(t testing.TB) *Server {
	t.Helper()
	reply := func(access, refresh string, seconds int) map[string]any {
		return map[string]any{
			"access_token": access, "expires_in": seconds, "refresh_token": refresh,
			"refresh_token_expires_in": int(gitHubApp.refreshLife.Seconds()), "scope": "", "token_type": "bearer",
		}
	}
	return gitHub(t, "github-app", func(s *Server, token string, _ []string) map[string]any {
		refresh, seconds := s.begin(token, gitHubApp)
		return reply(token, refresh, seconds)
	}, func(s *Server, refresh string) map[string]any {
		_, access, next, seconds, ok := s.turn(refresh, "", gitHubApp)
		if !ok {
			return nil
		}
		return reply(access, next, seconds)
	})
}

func gitHub(t testing.TB, preset string, grant func(s *Server, token string, scopes []string) map[string]any, turn func(s *Server, refresh string) map[string]any) *Server {
	s := newServer(t, preset, "/login/oauth/authorize", "/login/oauth/access_token", "")
	s.authorize("/login/oauth/authorize", func(q url.Values) (Grant, string) {
		return Grant{"user", fields(q.Get("scope"), " ,")}, ""
	})
	s.mux.HandleFunc("POST /login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) {
		var members map[string]any
		if refresh, problem := s.refreshing(r, gitHubBadClient); refresh != "" || problem != "" {
			if problem == "" && turn != nil {
				members = turn(s, refresh)
			}
			if members == nil {
				members = map[string]any{"error": cmp.Or(problem, gitHubBadRefresh), "error_description": "The refresh token passed is incorrect or expired."}
			}
		} else if a, token, problem := s.redeem(r, gitHubBadClient, gitHubBadCode); problem != "" {
			members = map[string]any{"error": problem, "error_description": "The code passed is incorrect or expired."}
		} else {
			members = grant(s, token, a.Scopes)
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			reply(w, http.StatusOK, members)
			return
		}
		form := url.Values{}
		for name, value := range members {
			form.Set(name, fmt.Sprint(value))
		}
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		io.WriteString(w, form.Encode())
	})
	// "Delete an app authorization": the token's grant ends with all of its tokens,
	// and 204 is the answer; a token that is not the app's is 422, "Validation failed".
	//
	//	https://docs.github.com/en/rest/apps/oauth-applications
	s.mux.HandleFunc("DELETE /applications/"+ClientID+"/grant", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Token string `json:"access_token"`
		}
		id, secret, _ := r.BasicAuth()
		switch {
		case id != ClientID || secret != ClientSecret:
			reply(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials"})
		case json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&body) != nil || !s.revoke(body.Token):
			reply(w, http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed"})
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return s
}
