package athflow

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
	"unicode"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
)

//go:embed pages
var pageFiles embed.FS

// pages are what browsers see. They run no script, load nothing, and may not
// be framed.
type pages struct {
	turns     *httpapi.Turns
	templates *template.Template
	style     template.CSS
	policy    string
}

type consentPage struct {
	Agent, Domain, AgentID, Developer, Purpose string
	Written                                    writing // of Domain
	Pinned                                     bool    // the operator named agent and key: no domain was checked
	Provider                                   string
	Scopes                                     []string
	Standing                                   standing
	Action, State, Token                       string
}

type continuePage struct {
	To  string
	URL template.URL
}

type endPage struct {
	Domain, Provider, Code string
	Pinned                 string // the name of a pinned agent; "": of none
}

type unhealedPage struct{ Provider, Reason, Why string }

type waitPage struct {
	Provider string
	Next     template.URL
}

type errorPage struct {
	Code       ath.Code
	Message    string
	DecisionID string
	RunBy      Operator
}

func newPages(turns *httpapi.Turns) (*pages, error) {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	t, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(style)
	return &pages{
		turns: turns, templates: t, style: template.CSS(style),
		// No scripts, and no frames, against clickjacking.
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}, nil
}

func (p *pages) write(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	var err error
	draw := func() {
		err = p.templates.ExecuteTemplate(&b, name+".html", struct {
			Style template.CSS
			Page  any
		}{p.style, data})
	}
	if name == "error" { // small, and what is said when there is too much to do
		draw()
	} else if busy := p.turns.Run(context.Background(), draw); busy != nil {
		return busy
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// servePage turns a step that answers a browser into a handler: deadline, the
// headers that every page has, and errors as a page with their code.
func (f *Flow) servePage(step func(context.Context, *httpapi.Call, http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), httpapi.RequestTimeout)
		defer cancel()
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		c := f.NewCall(r)
		err := navigated(r)
		if err == nil {
			err = step(ctx, c, w, r)
		}
		if err == nil {
			return
		}
		e := f.AsError(ctx, c.ID, err)
		c.Event.Kind, c.Event.Reason = audit.AccessDenied, strings.ToLower(string(e.Code))
		f.RecordRefusal(r, c.Event, e.Code)
		h.Del("Set-Cookie")
		if prefersJSON(r) {
			f.WriteError(w, c.ID, e)
			return
		}
		httpapi.RetryAfter(w, e)
		w.Header().Set("X-ATH-Decision-ID", c.ID) // P-9
		if err := f.pages.write(w, e.Status(), "error", errorPage{Code: e.Code, Message: e.Message, DecisionID: c.ID, RunBy: f.RunBy}); err != nil {
			f.WriteError(w, c.ID, e)
		}
	})
}

// prefersJSON tells a program from a browser.
func prefersJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

const maxShownRunes = 120

// shown makes what an agent or a provider said of itself fit to be shown: no
// control or direction-changing characters that could make the text around it
// read differently, and bounded. Escaping is the template's.
func shown(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == maxShownRunes {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			continue // control, format (Cf) and private characters are not printable
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}
