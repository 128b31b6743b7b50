package guides

import (
	"context"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// A place is where a guide's files are at work: its hosts are stand-ins, and
// its ports are others.
type place struct {
	t      *testing.T
	dir    string
	public string
	swap   []string // the page's addresses and ours
	env    []string
	api    *stage.Upstream             // for the page's own API, or the tracker's
	known  map[string]*standins.Server // by the service's name
}

// put replaces an address of the page: not where another port only begins like it.
func (p *place) put(theirs, ours string) { p.swap = append(p.swap, theirs, ours) }

func (p *place) change(text string) string { return swapped(text, p.swap) }

// presets are the providers that athd would know by their hosts.
var presets = map[string]string{
	"github": "github", "google-calendar": "google-calendar", "gmail": "gmail", "slack": "slack", "slack-bot": "slack",
}

// start runs athd on the page's files.
func (p *place) start(s setting) *stage.Athd {
	p.t.Helper()
	s.athd["listen"] = object{"grpc": reserve.Addr(p.t), "http": reserve.Addr(p.t), "admin": reserve.Addr(p.t)}
	s.athd["drain_delay"] = "0s" // nobody asks any more when it ends
	if store, ok := s.athd["store"].(object); ok && store["timeout"] == nil {
		store["timeout"] = "900ms" // a busy machine is no store that is away; it stays under what Envoy waits
	}
	for id, provider := range s.providers {
		if preset := presets[id]; preset != "" {
			provider.(object)["preset"] = preset
		}
	}
	s.write(p.t, p.dir, p.change)
	return stage.StartAthd(p.t, p.dir, s.athd["listen"].(object)["admin"].(string))
}

// types runs a command of the page, and returns what it printed and its exit
// code.
func (p *place) types(words []string, more ...string) (string, int) {
	p.t.Helper()
	path := program(p.t, words[0])
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(words[1:]), more...)...)
	cmd.Dir = p.dir
	cmd.Env = append(cmd.Environ(), p.env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// walk runs the page's "athctl try run" with a user who agrees.
func (p *place) walk(commandLines []string) (walks int) {
	p.t.Helper()
	for _, line := range commandLines {
		for _, words := range commands(line) {
			if !slices.Equal(words[:min(3, len(words))], []string{"athctl", "try", "run"}) {
				continue
			}
			walks++
			out, code := p.types(words, "--consent-with", stage.User+":"+stage.Password)
			if code != 0 || !strings.Contains(out, "All 13 checks held.") {
				p.t.Errorf("%s: exit code %d\n%s", line, code, out)
			}
		}
	}
	return walks
}

// newPlace has an address for Envoy, and a stand-in for each host of a page.
func newPlace(t *testing.T, page string) (p *place, listen string) {
	t.Helper()
	p = &place{t: t, dir: t.TempDir()}
	listen = reserve.Addr(t)
	_, port, _ := net.SplitHostPort(listen)
	p.public = "http://localhost:" + port
	if strings.Contains(read(t, page), "public_url: https:") {
		p.public = "https://localhost:" + port
		authority := realenvoy.NewAuthority(t)
		cert, key := authority.Issue("localhost")
		p.put("cert_file: cert.pem", "cert_file: "+cert)
		p.put("key_file: key.pem", "key_file: "+key)
		p.env = append(p.env, "SSL_CERT_FILE="+authority.CAFile)
	}
	p.env = append(p.env, "ATHCTL_SERVER="+p.public, "ATHCTL_TOKEN_FILE=admin.token")
	p.put("https://localhost:8443", p.public)
	p.put("http://localhost:8080", p.public)
	p.put("http://consent.localhost:8080", "http://127.0.0.1:"+port) // a second name that no lookup is needed for
	for _, m := range variable.FindAllStringSubmatch(read(t, page), -1) {
		if strings.HasSuffix(m[1], "_CLIENT_ID") {
			t.Setenv(m[1], standins.ClientID)
		} else {
			t.Setenv(m[1], standins.ClientSecret)
		}
	}
	p.api = stage.StartUpstream(t, nil)
	p.put("http://127.0.0.1:3000", p.api.URL)
	p.put("https://api.tracker.example", p.api.URL)

	github, google, slack := standins.GitHub(t), standins.Google(t, "gmail"), standins.Slack(t)
	p.known = map[string]*standins.Server{"github": github, "google": google, "slack": slack}
	p.put("https://github.com", github.URL)
	p.put("https://api.github.com", github.URL)
	p.put("https://accounts.google.com", google.URL)
	p.put("https://oauth2.googleapis.com", google.URL)
	p.put("https://www.googleapis.com/calendar", google.URL+"/calendar")
	p.put("https://gmail.googleapis.com", google.URL)
	p.put("https://slack.com", slack.URL)
	for host, habits := range servers {
		p.put("https://"+host, startOAuth(t, habits, p.public+"/ath/callback"))
	}
	return p, listen
}

// Each guide's own files, behind an Envoy with what athd bootstrap prints, and
// the agent that the guide runs: it is let through, and refused, as it says.
//
// proves: P-4, P-5
func TestGuidesWalk(t *testing.T) {
	for page, want := range map[string]int{
		"your-api": 1, "oauth-servers": 4, "github": 1, "google": 2, "slack": 2, "any-provider": 2, "athx": 1,
	} {
		t.Run(page, func(t *testing.T) {
			page := "docs/guides/" + page + ".md"
			walks := 0
			for _, s := range settings(t, page) {
				if len(s.commands) == 0 {
					continue // the first of two files
				}
				p, listen := newPlace(t, page)
				e, _ := s.athd["envoy"].(object)
				if e == nil {
					e = object{}
				}
				e["listen"], e["admin"] = listen, "127.0.0.1:0"
				s.athd["envoy"] = e
				p.start(s)
				config, stderr, err := stage.Run(t, p.dir, "bootstrap")
				if err != nil {
					t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
				}
				realenvoy.Start(t, []byte(config))
				walks += p.walk(s.commands)
				p.sawUsersTokens(page)
				if strings.Contains(page, "your-api") {
					p.people()
				}
			}
			if walks != want {
				t.Errorf("%s has %d walks, want %d", page, walks, want)
			}
		})
	}
}

// sawUsersTokens looks at what reached the services: tokens that they issued,
// of the kind that was asked for, and nothing of ours.
func (p *place) sawUsersTokens(page string) {
	p.t.Helper()
	if saw := p.api.Bytes(); strings.Contains(saw, "ath_tk_") || strings.Contains(strings.ToLower(saw), "x-ath-") {
		p.t.Errorf("P-5: the API saw what is ours:\n%s", saw)
	}
	var kinds []string
	for name, server := range p.known {
		for _, r := range server.Requests() {
			grant, ok := server.Grant(r.Token)
			if !ok {
				p.t.Errorf("P-5: %s saw a token that it did not issue: %s %s", name, r.Method, r.Target)
			}
			kinds = append(kinds, grant.Kind)
		}
	}
	if bot := strings.Contains(page, "slack"); slices.Contains(kinds, "bot") != bot {
		p.t.Errorf("the services saw tokens of the kinds %q", kinds)
	}
}

// people call the API as before.
func (p *place) people() {
	p.t.Helper()
	for token, want := range map[string]int{"": 200, "Bearer of-the-oauth-server": 200, "Bearer ath_tk_made_up": 401} {
		p.api.Forget()
		req, err := http.NewRequestWithContext(p.t.Context(), "GET", p.public+"/api/products", nil)
		if err != nil {
			p.t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", token)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			p.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || (p.api.Hits() == 1) != (want == 200) {
			p.t.Errorf("Authorization %q: status %d, want %d; the API saw %d calls", token, resp.StatusCode, want, p.api.Hits())
		}
	}
}

// The guide's own API, with an agent on the same machine: without development
// options no http address is taken, which the refusal says together with the
// fix; with the fix, the agent walks through.
// F-27
func TestAnAgentOnTheGuidesOwnAPI(t *testing.T) {
	run := []string{"athctl", "try", "run", "--serve", "127.0.0.1:0", "--provider", "shop", "--scope", "products:read", "--call", "GET /api/products"}
	for _, cured := range []bool{false, true} {
		const page = "docs/guides/your-api.md"
		s := settings(t, page)[0]
		p, listen := newPlace(t, page)
		s.athd["envoy"] = object{"listen": listen, "admin": "127.0.0.1:0"}
		if !cured {
			delete(s.athd, "development")
			// nobody gets as far as the OAuth server, whose stand-in speaks http
			p.swap = []string{"http://localhost:8080", p.public, "http://consent.localhost:8080", "http://consent.localhost" + strings.TrimPrefix(p.public, "http://localhost")}
		}
		p.start(s)
		config, stderr, err := stage.Run(t, p.dir, "bootstrap")
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		realenvoy.Start(t, []byte(config))
		out, code := p.types(run, "--consent-with", stage.User+":"+stage.Password)
		if cured && (code != 0 || !strings.Contains(out, "All 13 checks held.")) {
			t.Errorf("with the fix: exit code %d\n%s", code, out)
		}
		if !cured && (code == 0 || !strings.Contains(out, "development: {allow_http: true, allow_private_hosts: true}") || !strings.Contains(out, "agent_id")) {
			t.Errorf("as it stands: exit code %d\n%s", code, out)
		}
	}
}
