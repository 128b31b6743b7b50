package oauthserver

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/luikyv/go-oidc/pkg/goidc"
)

// What a session remembers between its pages, in its Store.
const (
	keyStep     = "step"     // stepLogin or stepConsent
	keyBrowser  = "browser"  // value of the cookie of the browser it started in
	keyFailures = "failures" // wrong passwords so far, an int

	stepLogin   = "login"
	stepConsent = "consent"

	browserCookie = "oauth_flow"
	maxFailures   = 5
)

// policy is the way from an authorization request to its end: the login page,
// then the consent page. Each is shown by a GET and sent by a POST to the
// session's own path.
func (s *Server) policy() goidc.AuthnPolicy {
	return goidc.NewPolicy("password", func(*http.Request, *goidc.AuthnSession, *goidc.Client) bool {
		return true
	}, s.authenticate)
}

func (s *Server) authenticate(w http.ResponseWriter, r *http.Request, session *goidc.AuthnSession, client *goidc.Client) (goidc.Status, error) {
	if session.Store[keyStep] == nil {
		return s.begin(w, session, client)
	}
	if !sameBrowser(r, session) {
		s.writeError(w, http.StatusForbidden, "This login was begun in another browser.")
		return goidc.StatusPending, nil // and lives on, for its own browser
	}
	submitted := r.Method == http.MethodPost
	switch session.Store[keyStep] {
	case stepLogin:
		if !submitted {
			return s.showLogin(w, session, client, "")
		}
		return s.login(w, r, session, client)
	case stepConsent:
		if !submitted {
			return s.showConsent(w, session, client)
		}
		return consent(r, session)
	}
	return goidc.StatusFailure, errors.New("session in an unknown step")
}

// begin ties the session to the browser and shows the login page.
func (s *Server) begin(w http.ResponseWriter, session *goidc.AuthnSession, client *goidc.Client) (goidc.Status, error) {
	if session.Prompt == goidc.PromptTypeNone {
		return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeLoginRequired, "nobody is logged in")
	}
	value := rand.Text()
	session.Store[keyStep], session.Store[keyBrowser] = stepLogin, value
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // the demo is on http
		Name:     browserCookie,
		Value:    value,
		Path:     sessionPath(session),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
		Secure:   strings.HasPrefix(s.config.Issuer, "https:"),
	})
	return s.showLogin(w, session, client, "")
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, session *goidc.AuthnSession, client *goidc.Client) (goidc.Status, error) {
	user, ok := s.user(r.PostFormValue("username"), r.PostFormValue("password"))
	if !ok {
		failures, _ := session.Store[keyFailures].(int)
		if failures++; failures >= maxFailures {
			return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeAccessDenied, "too many wrong passwords")
		}
		session.Store[keyFailures] = failures
		return s.showLogin(w, session, client, "That name and password do not fit.")
	}
	session.Subject, session.Username = user.ID, user.Name
	session.Store[keyStep] = stepConsent
	return s.showConsent(w, session, client)
}

// consent ends the session. Allowing nothing is a refusal: a reply without a
// scope would read as "all that was requested" (RFC 6749, section 5.1).
func consent(r *http.Request, session *goidc.AuthnSession) (goidc.Status, error) {
	ticked := r.PostForm["scope"]
	granted := slices.DeleteFunc(strings.Fields(session.Scopes), func(scope string) bool {
		return !slices.Contains(ticked, scope)
	})
	if r.PostFormValue("decision") != "allow" || len(granted) == 0 {
		return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeAccessDenied, "the user said no")
	}
	session.GrantedScopes = strings.Join(granted, " ")
	session.GrantedResources = session.Resources
	return goidc.StatusSuccess, nil
}

func (s *Server) user(name, password string) (User, bool) {
	for _, user := range s.config.Users {
		if user.Name == name {
			return user, equal(user.Password, password)
		}
	}
	return User{}, false
}

func sameBrowser(r *http.Request, session *goidc.AuthnSession) bool {
	cookie, err := r.Cookie(browserCookie)
	want, _ := session.Store[keyBrowser].(string)
	return err == nil && equal(want, cookie.Value)
}

// equal compares secrets in constant time. An empty one equals nothing.
func equal(want, got string) bool {
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return want != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func sessionPath(session *goidc.AuthnSession) string { return pathAuthorize + "/" + session.ID }
