package oauthserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Habits make the token endpoint answer as some real providers do, against
// the specification or at its edge. Each is off by default.
type Habits struct {
	OmitScope     bool // no scope in the reply (then: as requested)
	OmitExpiresIn bool // no expires_in (then: no known expiry)
	CommaScopes   bool // scope is separated by commas, as GitHub does
	ErrorsAre200  bool // errors come with status 200, as GitHub's do
	FormEncoded   bool // form-encoded unless JSON is asked for, as GitHub does
}

// A reply is a whole response, kept back so that it can be looked at and
// changed. It implements [http.ResponseWriter].
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}, status: http.StatusOK} }

func (r *reply) Header() http.Header         { return r.header }
func (r *reply) WriteHeader(status int)      { r.status = status }
func (r *reply) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *reply) sendTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes()) // the client has gone; nobody is left to tell
}

// apply changes a reply of the token endpoint as the habits want it.
func (h Habits) apply(r *reply, accept string) error {
	if h == (Habits{}) {
		return nil
	}
	var fields map[string]any
	if err := json.Unmarshal(r.body.Bytes(), &fields); err != nil {
		return fmt.Errorf("token reply: %w", err)
	}
	if h.OmitScope {
		delete(fields, "scope")
	}
	if h.OmitExpiresIn {
		delete(fields, "expires_in")
	}
	if scope, ok := fields["scope"].(string); ok && h.CommaScopes {
		fields["scope"] = strings.ReplaceAll(scope, " ", ",")
	}
	if h.ErrorsAre200 {
		r.status = http.StatusOK
	}
	r.body.Reset()
	if h.FormEncoded && !strings.Contains(accept, "application/json") {
		form := url.Values{}
		for name, value := range fields {
			form.Set(name, fmt.Sprint(value))
		}
		r.header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.body.WriteString(form.Encode())
		return nil
	}
	return json.NewEncoder(&r.body).Encode(fields)
}
