package leak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/internal/wire"
)

// maxBody is how much of a reply is read for secrets, in bytes.
const maxBody = 256 << 10

// minSecret keeps what is no secret, such as a constant of a test's, from being
// gathered, in bytes.
const minSecret = 16

var athd = regexp.MustCompile(`ath_(tk|rt|secret|code|sess)_[\w-]{20,}`)

// A Watch gathers the secrets that pass through one test and the refusals that
// were answered in it. All servers and clients of the harness add to it.
type Watch struct {
	mu      sync.Mutex
	secrets map[string]string // names by value
	places  map[string][]byte
}

var (
	watchesMu sync.Mutex
	watches   = map[string]*Watch{}
)

// Of returns the watch that a test shares with its subtests.
func Of(t testing.TB) *Watch {
	name, _, _ := strings.Cut(t.Name(), "/")
	watchesMu.Lock()
	defer watchesMu.Unlock()
	w := watches[name]
	if w == nil {
		w = &Watch{secrets: map[string]string{}, places: map[string][]byte{}}
		watches[name] = w
	}
	return w
}

// Secret adds a secret to look for.
func (w *Watch) Secret(name, value string) {
	if len(value) < minSecret {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.secrets[value] == "" {
		w.secrets[value] = name
	}
}

// Text adds all of athd's own secrets in a text that may hold them.
func (w *Watch) Text(text string) {
	for _, m := range athd.FindAllStringSubmatch(text, -1) {
		w.Secret("an ath_"+m[1], m[0])
	}
}

// Place adds what must hold no secret.
func (w *Watch) Place(name string, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[name] = data
}

// Refusal adds a reply's body to what must hold no secret, if it is a refusal.
func (w *Watch) Refusal(of string, status int, body []byte) {
	if status < http.StatusBadRequest {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[fmt.Sprintf("the body of refusal %d, a %d to %s", len(w.places), status, of)] = body
}

// Observe is for a [wire.Recorder] of an agent's client.
func (w *Watch) Observe(ex *wire.Exchange) {
	w.Refusal("an agent", ex.Status, ex.Reply)
	if ex.Status < http.StatusBadRequest {
		w.Text(string(ex.Reply))
		w.Text(ex.Header.Get("Location"))
	}
}

// Handler gathers the codes and tokens that an OAuth server gives out.
func (w *Watch) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		t := &tee{ResponseWriter: rw}
		next.ServeHTTP(t, r)
		if u, err := url.Parse(rw.Header().Get("Location")); err == nil {
			w.Secret("a code of the OAuth server", u.Query().Get("code"))
		}
		var members map[string]any
		if json.Unmarshal(t.body.Bytes(), &members) == nil {
			w.members(members)
		}
	})
}

func (w *Watch) members(all map[string]any) {
	for name, value := range all {
		switch v := value.(type) {
		case map[string]any:
			w.members(v)
		case string:
			if name == "access_token" || name == "refresh_token" || name == "id_token" {
				w.Secret("an upstream "+name, v)
			}
		}
	}
}

type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	if t.body.Len() < maxBody {
		t.body.Write(p)
	}
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Secrets returns what was gathered so far.
func (w *Watch) Secrets() []Secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Secret
	for value, name := range w.secrets {
		out = append(out, Secret{name, value})
	}
	return out
}

// Refusals is how many refusals were recorded since the last check.
func (w *Watch) Refusals() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for name := range w.places {
		if strings.HasPrefix(name, "the body of refusal") {
			n++
		}
	}
	return n
}

// Check fails the test for each secret in places or in what was recorded, which
// is then dropped. Any secret of athd's own shape is one, gathered or not.
func (w *Watch) Check(t testing.TB, places map[string][]byte) {
	t.Helper()
	w.mu.Lock()
	all := w.places
	w.places = map[string][]byte{}
	w.mu.Unlock()
	for name, data := range places {
		all[name] = data
		for _, at := range athd.FindAllSubmatchIndex(data, -1) {
			w.Secret("an ath_"+string(data[at[2]:at[3]]), string(data[at[0]:at[1]]))
		}
	}
	finds, err := Scan(all, w.Secrets())
	if err != nil {
		t.Error(err)
	}
	for _, f := range finds {
		t.Errorf("found %v", f)
	}
}
