package agentcli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// authorized makes one that has come, is registered and has a token.
func authorized(t *testing.T, s *stage.Stage, provider, scopes string) *author {
	t.Helper()
	a := comes(t, s)
	a.must("register", "--provider", provider, "--scope", scopes)
	a.asksUser(provider, scopes, true)
	a.must("token")
	return a
}

// link is the first object that authorize -o json prints.
type link struct {
	URL      string   `json:"authorization_url"`
	Provider string   `json:"provider_id"`
	Scopes   []string `json:"scopes"`
	Redirect string   `json:"redirect_uri"`
	Expires  string   `json:"expires"`
}

// asksUser runs authorize with a loopback port, plays the user's browser, and
// returns how the command ended.
func (a *author) asksUser(provider, scopes string, allow bool) (first link, second map[string]any, r typed) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	cmd := a.command(ctx, "authorize", "--provider", provider, "--scope", scopes, "-o", "json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	objects := json.NewDecoder(stdout)
	if err := objects.Decode(&first); err != nil || first.URL == "" {
		cancel()
		cmd.Wait()
		a.t.Fatalf("no authorization_url: %v\n%s", err, &stderr)
	}
	b := browser.New()
	defer b.Close()
	a.isNotFooled(first.Redirect)
	var page *browser.Page
	if allow {
		page = a.s.Consent(b, first.URL)
	} else if page, err = b.Get(ctx, first.URL); err == nil {
		page, err = b.Submit(ctx, page.Form().Click("Deny"))
	}
	if err != nil || !strings.HasPrefix(page.URL.String(), first.Redirect+"?") || page.Status != http.StatusOK {
		a.t.Errorf("the browser ends at %v: %v", page, err)
	}
	if err := objects.Decode(&second); err != nil {
		a.t.Errorf("the second object: %v", err)
	}
	cmd.Wait() // how it went is in the exit code
	return first, second, typed{stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// isNotFooled knocks at the port as a page elsewhere could: it must go on
// waiting.
func (a *author) isNotFooled(redirect string) {
	a.t.Helper()
	for _, c := range []struct {
		name, query, host string
		status            int
	}{
		{"an answer without a state", "?code=ath_code_evil&success=true", "", 400},
		{"an answer with another state", "?code=ath_code_evil&state=evil&ath_session_id=evil", "", 400},
		{"an error with another state", "?error=access_denied&state=evil", "", 400},
		{"another host's name", "?code=ath_code_evil", "evil.example", 404},
	} {
		req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, redirect+c.query, nil)
		if err != nil {
			a.t.Fatal(err)
		}
		req.Host = c.host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			a.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			a.t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.status)
		}
	}
}

// Each command by itself, in both modes, for people and for programs.
func TestCommandByCommand(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	for _, c := range []struct {
		name, provider, scope, path, url, arrives string
		upstream                                  *stage.Upstream
	}{
		{"native", stage.App, "products:read", "/api/products?page=2", s.Public + "/api/products?page=2", "GET /api/products?page=2 HTTP/1.1", s.App},
		{"gateway", stage.Provider, "pictures:read", "/pictures/7", s.Public + "/ath/proxy/gallery/pictures/7", "GET /v1/pictures/7 HTTP/1.1", s.Gallery},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := comes(t, s)
			if out := a.must("discover"); !strings.Contains(out, "gateway "+s.Public) || !strings.Contains(out, "  provider gallery: pictures:read pictures:write") || !strings.Contains(out, "app shop") {
				t.Errorf("discover: %s", out)
			}
			var found struct {
				Gateway struct {
					ID string `json:"gateway_id"`
				}
				App struct {
					ID string `json:"app_id"`
				}
			}
			decode(t, a.must("discover", "-o", "json"), &found)
			if found.Gateway.ID != s.Public || found.App.ID != stage.App {
				t.Errorf("discover: %+v", found)
			}
			// F-30: a slip is no success, though the rest is registered.
			slip := strings.Replace(c.scope, "s:", ":", 1)
			r := a.types("", "register", "--provider", c.provider, "--scope", c.scope+",nobodys,"+slip)
			if r.code != 1 || !strings.Contains(r.stdout, "approved:        "+c.provider+"/"+c.scope) || !strings.Contains(r.stdout, "denied:          "+c.provider+"/nobodys ") ||
				!strings.Contains(r.stderr, "athctl: "+c.provider+" offers no scope nobodys\n") ||
				!strings.Contains(r.stderr, "athctl: "+c.provider+" offers no scope "+slip+", did you mean "+c.scope+"?\n") {
				t.Errorf("register: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			a.must("register", "--provider", c.provider, "--scope", c.scope, "--replace")
			var slips struct {
				ID    string `json:"client_id"`
				Slips []struct {
					Scope string `json:"scope"`
					Meant string `json:"did_you_mean"`
				} `json:"unknown_scopes"`
			}
			json := a.types("", "register", "--provider", c.provider, "--scope", c.scope+","+slip, "--replace", "-o", "json")
			decode(t, json.stdout, &slips)
			if json.code != 1 || slips.ID == "" || len(slips.Slips) != 1 || slips.Slips[0].Scope != slip || slips.Slips[0].Meant != c.scope {
				t.Errorf("register for programs: exit code %d, %+v", json.code, slips)
			}
			first, second, r := a.asksUser(c.provider, c.scope, true)
			if r.code != 0 || second["code"] != "received" || first.Provider != c.provider || len(first.Scopes) != 1 || first.Expires == "" {
				t.Fatalf("authorize: %+v %v\n%s", first, second, r.stderr)
			}
			var token struct {
				Access    string   `json:"access_token"`
				Effective []string `json:"effective_scopes"`
			}
			decode(t, a.must("token", "-o", "json"), &token)
			if len(token.Effective) != 1 || !strings.HasPrefix(token.Access, "ath_tk_") || len(token.Access) > 16 {
				t.Errorf("token: %+v", token)
			}
			c.upstream.Forget()
			if out := a.must("call", "-i", "-H", "X-Trying: yes", "GET", c.path); !strings.HasPrefix(out, "200 OK\n") || !strings.Contains(out, "\nX-Upstream: yes\n") || !strings.Contains(out, `"method":"GET"`) {
				t.Errorf("call: %s", out)
			}
			saw := c.upstream.Bytes()
			if !strings.HasPrefix(saw, c.arrives) || !strings.Contains(strings.ToLower(saw), "x-trying: yes") || strings.Contains(saw, "ath_tk_") {
				t.Errorf("the API saw\n%s", saw)
			}
			var called struct {
				URL    string
				Status int
				Body   struct{ Method string }
			}
			decode(t, a.must("call", "-o", "json", "GET", c.url), &called)
			if called.URL != c.url || called.Status != 200 || called.Body.Method != "GET" {
				t.Errorf("call by URL: %+v", called)
			}
			if r := a.types("", "call", "GET", "https://elsewhere.example/"); r.code != 1 || !strings.Contains(r.stderr, "would go to https://elsewhere.example") {
				t.Errorf("the token would go elsewhere: exit code %d, %s", r.code, r.stderr)
			}
			status := a.must("status")
			if !strings.Contains(status, "for "+c.provider+" ("+c.scope+"), good, until ") || !strings.Contains(status, "redirects to:    http://127.0.0.1/callback") {
				t.Errorf("status: %s", status)
			}
			noSecrets(t, a, status+a.must("status", "-o", "json"))
			a.must("revoke")
			if r := a.types("", "call", "GET", c.path); r.code != 1 || !strings.HasPrefix(r.stdout, "401 Unauthorized\n") || !strings.Contains(r.stderr, "TOKEN_REVOKED") {
				t.Errorf("V-4: after revoke: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			if out := a.must("status"); !strings.Contains(out, ", revoked, until ") {
				t.Errorf("status: %s", out)
			}
			if info, err := os.Stat(a.path()); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the state's mode: %v %v", info, err)
			}
		})
	}
}

// The code can come by hand: from the server's last page, or out of the
// address bar where the agent's own redirect URI ended.
func TestPastedCode(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	a := comes(t, s)
	const own = "https://agent.example/done?from=athd"
	a.must("register", "--provider", stage.App, "--scope", "products:read", "--redirect-uri", own)
	start := func(redirect string) link {
		t.Helper()
		var first link
		decode(t, a.must("authorize", "--provider", stage.App, "--scope", "products:read", "--redirect", redirect, "--no-wait", "-o", "json"), &first)
		return first
	}
	t.Run("from the page, on the command line", func(t *testing.T) {
		b := browser.New()
		defer b.Close()
		page := s.Consent(b, start("paste").URL)
		a.must("token", "--code", codeOn(t, page.Body))
		a.must("call", "GET", "/api/products")
	})
	t.Run("from the address bar, on standard input", func(t *testing.T) {
		b := browser.New()
		defer b.Close()
		b.StopAt(func(u *url.URL) bool { return u.Host == "agent.example" })
		page := s.Consent(b, start(own).URL)
		if !page.Stopped || !strings.HasPrefix(page.URL.String(), own+"&") {
			t.Fatalf("the browser ends at %v", page.URL)
		}
		q := page.URL.Query()
		for name, evil := range map[string]string{"state": "evil", "iss": "https://evil.example", "ath_session_id": "evil"} {
			wrong := *page.URL
			changed := page.URL.Query()
			changed.Set(name, evil)
			wrong.RawQuery = changed.Encode()
			if r := a.types(wrong.String()+"\n", "token", "--code", "-"); r.code != 1 || strings.Contains(r.stderr, q.Get("code")) {
				t.Errorf("C-6: an answer with another %s: exit code %d, %s", name, r.code, r.stderr)
			}
		}
		if r := a.types(page.URL.String()+"\n", "token", "--code", "-"); r.code != 0 {
			t.Fatalf("exit code %d, %s", r.code, r.stderr)
		}
		a.must("call", "GET", "/api/products")
	})
	t.Run("asked for by authorize", func(t *testing.T) {
		// Nobody has consented, so any code will do to see where it goes.
		r := a.types("ath_code_typed-by-hand\n", "authorize", "--provider", stage.App, "--scope", "products:read", "--redirect", "paste")
		if r.code != 0 || !strings.Contains(r.stdout, "/ath/consent/start?") || !strings.Contains(r.stderr, "the code that the last page shows: ") {
			t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		if r := a.types("", "token"); r.code != 1 || !strings.Contains(r.stderr, "SESSION_NOT_FOUND") {
			t.Errorf("exit code %d, %s", r.code, r.stderr)
		}
	})
}
