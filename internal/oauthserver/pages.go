package oauthserver

import (
	"bytes"
	"cmp"
	_ "embed"
	"net/http"
	"strings"

	"github.com/luikyv/go-oidc/pkg/goidc"
)

//go:embed pages.html
var pagesHTML string

// page is everything that a template may show.
type page struct {
	Title  string
	Action string
	Client string
	User   string
	Scopes []string
	Notice string
}

func (s *Server) showLogin(w http.ResponseWriter, session *goidc.AuthnSession, client *goidc.Client, notice string) (goidc.Status, error) {
	return goidc.StatusPending, s.writePage(w, http.StatusOK, "login", page{
		Title:  "Log in",
		Action: sessionPath(session),
		Client: cmp.Or(client.Name, client.ID),
		User:   session.LoginHint,
		Notice: notice,
	})
}

func (s *Server) showConsent(w http.ResponseWriter, session *goidc.AuthnSession, client *goidc.Client) (goidc.Status, error) {
	return goidc.StatusPending, s.writePage(w, http.StatusOK, "consent", page{
		Title:  "Allow access?",
		Action: sessionPath(session),
		Client: cmp.Or(client.Name, client.ID),
		User:   session.Username,
		Scopes: strings.Fields(session.Scopes),
	})
}

func (s *Server) writeError(w http.ResponseWriter, status int, notice string) {
	_ = s.writePage(w, status, "error", page{Title: "That did not work", Notice: notice})
}

// writePage sends a page that no other site may frame. Its policy does not
// name form-action: browsers apply that to the redirect after a form, too,
// and the last form here leads to the client.
func (s *Server) writePage(w http.ResponseWriter, status int, name string, data page) error {
	var body bytes.Buffer
	if err := s.pages.ExecuteTemplate(&body, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err := w.Write(body.Bytes())
	return err
}
