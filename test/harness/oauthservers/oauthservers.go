// Package oauthservers starts real OAuth servers for tests, which nobody of this
// project wrote, each on loopback, behind a [Proxy] that counts what passes, and
// under the proxy's address as its issuer. [Start] takes a name of [Names]; the
// server ends with its test. There are two clients at each: athd's, and another
// program's, by which a test finds out directly what the server does
// ([Server.Grant], [Server.Refresh], [Server.Revoke], [Server.Lives]).
package oauthservers

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/reserve"
)

// Life is how long access tokens of athd's client live, in seconds: at the server
// where that can be set for one client, else by what the proxy makes of
// expires_in in the server's replies to athd.
const Life = 3

// Lives are how long tokens of a server live, in whole seconds.
type Lives struct {
	Access int
	// Told is what replies say of Access to athd, where that is less: servers count
	// whole seconds from the beginning of the one in which they give a token. 0: as
	// it is.
	Told int
	// Unused is how long a refresh token lives that nobody uses. Only oidc-provider
	// is told, and it tells nobody.
	Unused int
}

// A Client is one at the server.
type Client struct {
	ID, Secret  string
	RedirectURI string
}

// A Server is a real OAuth server.
type Server struct {
	Name    string
	Version string
	// Issuer is what it calls itself, byte for byte: Zitadel's ends with a slash.
	Issuer string
	// Athd is athd's client, Other that of another program.
	Athd, Other Client
	// Scope is what an agent asks for, and what a call is allowed by.
	Scope string
	// Proxy is between the server and everybody.
	Proxy *Proxy

	t         testing.TB
	redirects []string // of athd's client
	kind      kind
	basic     bool // how the other client authenticates
	// pages is the URL of log-in pages that are not the server's own, and setUp what
	// is done once it answers; both are for a command to set.
	pages string
	setUp func()
}

// A kind is what differs from server to server.
type kind struct {
	// version finds the version in a file below this folder.
	version pinned
	// command is how it runs; what the environment says to it is added.
	command func(t testing.TB, s *Server, address string) *exec.Cmd
	path    string // of the issuer, behind the proxy's address
	ready   string // what is asked until it answers 200
	scope   string
	// extra is what athd asks for beside the agent's scopes, and params what else
	// it has to say, to know the user and to get a refresh token.
	extra  []string
	params map[string]string
	more   map[string]any // further keys of providers.json
	// userField is the log-in page's; allow presses the button of any other page.
	userField, userSuffix string
	allow                 func(*browser.Form) *browser.Form
	shorten               bool // the proxy makes the lives of athd's tokens short
	keeps                 bool // a refresh token stays good
	resource              string
	api                   string // path that answers 2xx to a living access token
	basic                 bool
	anyMethod             bool          // a client may authenticate by either method
	patience              time.Duration // until it answers
}

// Users are people who exist at each server, by one password.
var Users = []string{"alice", "bob", "carol", "dave", "erin", "frank", "gina"}

const password = "wonderland"

// Names are the servers that make test has; More take a while to be had and to
// start, and are of make test-oauth.
var (
	Names = []string{"oidc-provider", "cloudflare", "zitadel"}
	More  = []string{"dex", "keycloak", "spring", "hydra"}
)

var kinds = map[string]kind{
	"oidc-provider": {
		version: pinned{"npm/package.json", `"oidc-provider": "(.*)"`}, command: node("oidc-provider.mjs"), ready: "/.well-known/openid-configuration", scope: "products:read",
		extra: []string{"openid", "offline_access"}, params: map[string]string{"prompt": "consent"},
		userField: "login", api: "/me", anyMethod: true,
		allow: func(f *browser.Form) *browser.Form { return f.Click("Continue") },
	},
	"cloudflare": {
		version: pinned{"npm/package.json", `"@cloudflare/workers-oauth-provider": "(.*)"`}, command: node("cloudflare.mjs"), ready: "/.well-known/oauth-authorization-server", scope: "products:read",
		resource: "https://api.shop.example", more: map[string]any{"resource": "https://api.shop.example"}, api: "/api", userField: "username", shorten: true, // lives of less than 60 s are refused
		allow: func(f *browser.Form) *browser.Form { return f.Click("Allow") },
	},
	"zitadel": {
		version: pinned{"zitadel/go.mod", `zitadel/oidc/v3 v(\S+)`}, path: "/", ready: "/.well-known/openid-configuration", scope: "profile",
		command: func(t testing.TB, _ *Server, _ string) *exec.Cmd {
			return exec.Command(tool(t, "oauth", "oauth-zitadel"))
		},
		extra: []string{"openid", "offline_access"}, shorten: true,
		userField: "username", api: "/userinfo", basic: true, anyMethod: true,
	},
	"keycloak": keycloak,
	"dex":      dex,
	"spring":   spring,
	"hydra":    hydra,
}

// Start starts a server at which athd's client may be called back at these URIs.
// It returns when the server answers.
func Start(t testing.TB, name string, redirectURIs ...string) *Server {
	t.Helper()
	return StartWith(t, name, Lives{Access: Life, Unused: 24 * 60 * 60}, redirectURIs...)
}

// StartWith is [Start] with other lives than those of most tests.
func StartWith(t testing.TB, name string, lives Lives, redirectURIs ...string) *Server {
	t.Helper()
	k, ok := kinds[name]
	if !ok {
		t.Fatalf("there is no OAuth server %q", name)
	}
	address := reserve.Addr(t)
	s := &Server{Name: name, Version: k.version.in(t), Scope: k.scope, t: t, redirects: redirectURIs, kind: k, basic: k.basic}
	s.Proxy = newProxy(t, address)
	s.Issuer = s.Proxy.URL + k.path
	s.Athd = Client{"athd", rand.Text(), redirectURIs[0]}
	s.Other = Client{"other", rand.Text(), "http://127.0.0.1:9/back"}
	cmd := k.command(t, s, address)
	cmd.Env = append(os.Environ(), append(cmd.Env,
		"ADDRESS="+address, "ISSUER="+s.Issuer, "SECRET="+s.Athd.Secret, "OTHER_SECRET="+s.Other.Secret,
		"REDIRECTS="+strings.Join(redirectURIs, ","), "OTHER_REDIRECTS="+s.Other.RedirectURI,
		"SCOPES="+strings.Join([]string{k.scope, "orders:read", "offline_access"}, " "), "LIFE="+strconv.Itoa(lives.Access), "UNUSED="+strconv.Itoa(lives.Unused), "RESOURCE="+k.resource, "PASSWORD="+password)...)
	s.run(cmd, lives)
	return s
}

// On is the server for a subtest, which fails by itself.
func (s *Server) On(t testing.TB) *Server {
	on := *s
	on.t = t
	return &on
}

// run starts the server's process and waits until it answers.
func (s *Server) run(cmd *exec.Cmd, lives Lives) {
	s.t.Helper()
	out := &locked.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = diesWithParent()
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%s does not start: %v", s.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	s.t.Cleanup(func() {
		end(cmd.Process)
		<-exited
		if s.t.Failed() {
			s.t.Logf("%s wrote:\n%s", s.Name, out)
		}
	})
	patience := s.kind.patience
	if patience == 0 {
		patience = hangs
	}
	for deadline := time.Now().Add(patience); ; {
		if res, err := http.Get(s.Proxy.URL + s.kind.ready); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				s.readClients(out.String())
				if s.setUp != nil {
					s.setUp()
				}
				if s.kind.shorten || lives.Told > 0 {
					s.Proxy.shorten, s.Proxy.told = s.Athd.ID, cmp.Or(lives.Told, Life)
				}
				return
			}
		}
		select {
		case <-exited:
			s.t.Fatalf("%s has ended:\n%s", s.Name, out)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not answer after %v:\n%s", s.Name, patience, out)
		}
	}
}

// readClients takes over ids and secrets that are the server's own choice, from
// a line that it has printed.
func (s *Server) readClients(output string) {
	s.t.Helper()
	lines := bufio.NewScanner(bytes.NewBufferString(output))
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "ready ")
		if !ok {
			continue
		}
		var told map[string][2]string
		if err := json.Unmarshal([]byte(text), &told); err != nil {
			s.t.Fatalf("%s says %q: %v", s.Name, text, err)
		}
		s.Athd.ID, s.Athd.Secret = told["athd"][0], told["athd"][1]
		s.Other.ID, s.Other.Secret = told["other"][0], told["other"][1]
	}
}

// Fields is the entry of the server for providers.json: its issuer alone, no
// endpoints. Calls with the scope may GET /products.
func (s *Server) Fields(api string) map[string]any {
	all := map[string]any{
		"display_name": s.Name, "available_scopes": []string{s.Scope}, "issuer": s.Issuer, "api_base_url": api,
		"client_id": s.Athd.ID, "client_secret": s.Athd.Secret,
		"scope_rules": []any{map[string]any{"scope": s.Scope, "methods": []string{"GET"}, "paths": []string{"/products"}}},
	}
	if s.kind.extra != nil {
		all["extra_scopes"] = s.kind.extra
	}
	if s.kind.params != nil {
		all["extra_authorize_params"] = s.kind.params
	}
	maps.Copy(all, s.kind.more)
	return all
}

// Allow plays a user of [Users] on a page that may be the server's: logs in,
// agrees, and returns the first page that is somebody else's.
func (s *Server) Allow(ctx context.Context, b *browser.Browser, page *browser.Page, user string) (*browser.Page, error) {
	for range 8 {
		if page.Stopped || !s.shows(page.URL) || page.Status >= 400 {
			return page, nil
		}
		form := page.Form()
		if len(page.Forms) > 1 {
			form = page.Forms[0] // Dex: the other one declines
		}
		if named := len(form.Values(s.kind.userField)) > 0; named {
			form = form.Fill(s.kind.userField, user+s.kind.userSuffix)
		}
		if len(form.Values("password")) > 0 {
			form = form.Fill("password", password)
		} else if s.kind.allow != nil {
			form = s.kind.allow(form)
		}
		next, err := b.Submit(ctx, form)
		if err != nil {
			return page, err
		}
		page = next
	}
	return page, nil
}

// shows reports whether a page is the server's, or one of its log-in pages.
func (s *Server) shows(page *url.URL) bool {
	at := page.Scheme + "://" + page.Host
	return at == s.Proxy.URL || at == s.pages
}
