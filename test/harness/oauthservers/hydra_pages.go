package oauthservers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// hydraPages are the log-in and consent pages that Hydra leaves to its operator.
// Each request is known by a challenge; Hydra's admin API tells what it is about,
// takes what the user decides, and says where the browser goes on.
type hydraPages struct {
	admin string // URL of Hydra's admin API
}

// A hydraRequest is what the admin API tells of a challenge, and where an answer
// to it leads.
type hydraRequest struct {
	Skip       bool     `json:"skip"` // the browser has logged in before
	Subject    string   `json:"subject"`
	Scopes     []string `json:"requested_scope"`
	RedirectTo string   `json:"redirect_to"`
}

var (
	hydraLogin = template.Must(template.New("login").Parse(`<form method=post>
<input name=username><input type=password name=password><button>Log in</button>
</form>`))
	hydraConsent = template.Must(template.New("consent").Parse(`<form method=post>
{{range .Scopes}}<input type=checkbox name=scope value="{{.}}" checked>{{end}}
<button name=answer value=allow>Allow</button><button name=answer value=deny>Deny</button>
</form>`))
)

func (h *hydraPages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		switch asked, err := h.about(r, "login"); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadGateway)
		case asked.Skip:
			h.answer(w, r, "login", "accept", map[string]any{"subject": asked.Subject})
		default:
			show(w, hydraLogin, asked)
		}
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user := r.PostFormValue("username")
		if !slices.Contains(Users, user) || r.PostFormValue("password") != password {
			http.Error(w, "there is no such user", http.StatusForbidden)
			return
		}
		h.answer(w, r, "login", "accept", map[string]any{"subject": user, "remember": true, "remember_for": 3600})
	})
	mux.HandleFunc("GET /consent", func(w http.ResponseWriter, r *http.Request) {
		asked, err := h.about(r, "consent")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		show(w, hydraConsent, asked)
	})
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("answer") != "allow" {
			h.answer(w, r, "consent", "reject", map[string]any{"error": "access_denied"})
			return
		}
		h.answer(w, r, "consent", "accept", map[string]any{"grant_scope": r.PostForm["scope"]})
	})
	return mux
}

func show(w http.ResponseWriter, page *template.Template, asked *hydraRequest) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page.Execute(w, asked)
}

func challenge(r *http.Request, of string) url.Values {
	return url.Values{of + "_challenge": {r.URL.Query().Get(of + "_challenge")}}
}

// about asks what a log-in or consent is about.
func (h *hydraPages) about(r *http.Request, of string) (*hydraRequest, error) {
	var asked hydraRequest
	return &asked, h.ask(r.Context(), http.MethodGet, "/admin/oauth2/auth/requests/"+of, challenge(r, of), nil, &asked)
}

// answer tells the user's decision, and sends the browser on.
func (h *hydraPages) answer(w http.ResponseWriter, r *http.Request, of, decision string, body map[string]any) {
	var next hydraRequest
	if err := h.ask(r.Context(), http.MethodPut, "/admin/oauth2/auth/requests/"+of+"/"+decision, challenge(r, of), body, &next); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.Redirect(w, r, next.RedirectTo, http.StatusSeeOther)
}

// ask calls the admin API; body and reply may be nil.
func (h *hydraPages) ask(ctx context.Context, method, path string, query url.Values, body map[string]any, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.admin+path+"?"+query.Encode(), sent)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	switch {
	case err != nil:
		return err
	case res.StatusCode >= 300:
		return fmt.Errorf("%s %s is answered %d: %s", method, path, res.StatusCode, said)
	case reply == nil:
		return nil
	}
	return json.Unmarshal(said, reply)
}
