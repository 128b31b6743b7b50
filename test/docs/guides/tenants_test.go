package guides

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// The guides to OAuth servers, and what they have in common.
const (
	tenantPages = "docs/guides/providers/"
	commonPage  = tenantPages + "README.md"
)

// A tenant is a server that a guide is typed against.
type tenant struct {
	start func(testing.TB) *standins.Server
	hosts func(s *standins.Server) []string // the guide's addresses and the stand-in's
	sends string                            // what a refresh has as its scope; "": none
}

var tenants = map[string]tenant{
	"keycloak": {standins.Keycloak, func(s *standins.Server) []string {
		return []string{"https://keycloak.example.com", s.URL, "https://api.example.com", s.APIBase}
	}, ""},
	"auth0": {standins.Auth0, func(s *standins.Server) []string {
		return []string{"https://example.eu.auth0.com", s.URL, `"https://api.example.com"}`, `"https://api.example.com"}`, "https://api.example.com/shop", s.APIBase}
	}, ""},
	"okta": {standins.Okta, func(s *standins.Server) []string {
		return []string{"https://example.okta.com", s.URL, "https://api.example.com", s.APIBase}
	}, ""},
	"entra": {standins.Entra, func(s *standins.Server) []string {
		return []string{"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0", s.Issuer, `"https://graph.microsoft.com/v1.0"`, `"` + s.APIBase + `"`}
	}, "https://graph.microsoft.com/Mail.Read"},
	"github-app": {standins.GitHubApp, func(s *standins.Server) []string {
		return []string{"https://github.com", s.URL, "https://api.github.com", s.URL}
	}, ""},
	"slack-rotation": {standins.SlackRotating, func(s *standins.Server) []string {
		return []string{"https://slack.com", s.URL}
	}, ""},
}

// Each guide to an OAuth server is typed line by line, in its order, in an empty
// folder with the guide's own files, before a real Envoy and a stand-in that does
// as the server documents: proved, started, agreed to, called, refreshed, ended.
// What the guide shows is what the commands print.
func TestGuidesToOAuthServersAreTyped(t *testing.T) {
	for _, page := range pages(t) {
		if name, is := strings.CutPrefix(page, tenantPages); is && page != commonPage && tenants[strings.TrimSuffix(name, ".md")].start == nil {
			t.Errorf("nobody types %s", page)
		}
		for _, m := range variable.FindAllStringSubmatch(read(t, page), -1) {
			if strings.HasPrefix(page, tenantPages) {
				t.Setenv(m[1], standins.ClientSecret)
			}
		}
	}
	t.Setenv("GITHUB_CLIENT_ID", standins.ClientID)
	t.Setenv("SLACK_CLIENT_ID", standins.ClientID)
	binary, athctl := stage.Binary(t), program(t, "athctl") // built once, before many ask
	authority := realenvoy.NewAuthority(t)
	trusted := http.DefaultTransport.(*http.Transport).TLSClientConfig // of the users' browsers
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: authority.Pool()}
	defer func() { http.DefaultTransport.(*http.Transport).TLSClientConfig = trusted }()
	t.Run("all at once", func(t *testing.T) {
		for name, server := range tenants {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				v := newVisit(t, tenantPages+name+".md", server, authority)
				v.env = append(v.env, "PATH="+filepath.Dir(binary)+":"+filepath.Dir(athctl)+":"+os.Getenv("PATH"))
				for _, s := range stepsOf(t, v.page) {
					v.does(s)
				}
				v.over(server)
			})
		}
	})
}

// A visit is a reader at work.
type visit struct {
	*place
	page             string
	server           *standins.Server
	connection, user string // as connections list shows them
}

func newVisit(t *testing.T, page string, server tenant, authority *realenvoy.Authority) *visit {
	t.Helper()
	v := &visit{place: &place{t: t, dir: t.TempDir()}, page: page, server: server.start(t)}
	listen := reserve.Addr(t)
	_, port, _ := net.SplitHostPort(listen)
	cert, key := authority.Issue("localhost")
	v.public = "https://localhost:" + port
	v.swap = server.hosts(v.server)
	v.put("cert_file: cert.pem", "cert_file: "+cert)
	v.put("key_file: key.pem", "key_file: "+key)
	v.put("https://localhost:8443", v.public)
	v.put("127.0.0.1:4000", reserve.Addr(t))
	v.env = []string{"SSL_CERT_FILE=" + authority.CAFile}

	s := settings(t, commonPage)[0]
	s.athd["listen"] = object{"grpc": reserve.Addr(t), "http": reserve.Addr(t), "admin": reserve.Addr(t)}
	s.athd["drain_delay"] = "0s" // nobody asks any more when it ends
	e := s.athd["envoy"].(object)
	e["listen"], e["admin"] = listen, "127.0.0.1:0"
	s.providers = settings(t, page)[0].providers
	for _, p := range s.providers {
		p.(object)["client_id"] = standins.ClientID
	}
	s.write(t, v.dir, v.change)
	return v
}

// A step is a line to type, and what it prints, if the page shows that.
type step struct {
	line string
	want []string
}

// stepsOf reads a guide. Where it leads to the start of all guides, that is typed.
func stepsOf(t *testing.T, page string) (all []step) {
	t.Helper()
	text, from := read(t, page), 0
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		if page != commonPage && strings.Contains(text[from:m[0]], "](README.md#start-it)") {
			all = append(all, stepsOf(t, commonPage)...)
		}
		from = m[1]
		kind, body := text[m[2]:m[3]], text[m[4]:m[5]]
		for line := range strings.Lines(body) {
			line = strings.TrimRight(line, "\n")
			typed, prompted := strings.CutPrefix(line, "$ ")
			switch {
			case kind == "sh" || kind == "console" && prompted:
				all = append(all, step{line: typed})
			case kind == "console" && strings.TrimSpace(line) != "":
				last := &all[len(all)-1]
				last.want = append(last.want, line)
			}
		}
	}
	return all
}

var (
	linkInTerminal = regexp.MustCompile(`\n  (https?://\S+/ath/consent/start\S+)\n`)
	aConnection    = regexp.MustCompile(`(?m)^(ath_conn_[\w-]+) +\w+ +\S+ +(\S+) `)
)

// does types one line.
func (v *visit) does(s step) {
	v.t.Helper()
	line := strings.NewReplacer("CONNECTION_ID", v.connection, "USER_ID", v.user).Replace(s.line)
	line = v.change(line)
	all := commands(line)
	switch {
	case strings.HasPrefix(line, "export "):
		line, _, _ = strings.Cut(line, " #")
		for word := range strings.FieldsSeq(strings.TrimPrefix(line, "export ")) {
			if !strings.ContainsAny(word, "$…") { // these are set
				v.env = append(v.env, word)
			}
		}
	case len(all) == 0, slices.Contains([]string{"openssl", "head", "mkdir"}, all[0][0]): // what athd needs is there
	case strings.HasPrefix(line, "athd serve "):
		stage.StartAthd(v.t, v.dir, v.adminAddr())
	case strings.HasPrefix(line, "envoy "):
		config, err := os.ReadFile(filepath.Join(v.dir, all[0][2]))
		if err != nil {
			v.t.Fatal(err)
		}
		realenvoy.Start(v.t, config)
	case strings.HasPrefix(line, "athctl try identity --serve"):
		v.inBackground(all[0])
	case strings.HasPrefix(line, "athctl try authorize"):
		v.agrees(all[0])
	default:
		out, code := v.types(all[0])
		if m := aConnection.FindStringSubmatch(out); m != nil {
			v.connection, v.user = m[1], m[2]
		}
		if refused := slices.ContainsFunc(s.want, func(w string) bool { return strings.HasPrefix(w, "athctl: ") }); (code != 0) != refused {
			v.t.Fatalf("%s: %s ends with %d\n%s", v.page, line, code, out)
		}
		v.shows(s, out)
	}
}

func (v *visit) adminAddr() string {
	text, err := os.ReadFile(filepath.Join(v.dir, "athd.yaml"))
	if err != nil {
		v.t.Fatal(err)
	}
	return parse(v.t, v.page, string(text))["listen"].(object)["admin"].(string)
}

// shows compares what was printed with what the page shows: its lines are there,
// in this order. "…" stands for anything, and times and ids are of this run.
func (v *visit) shows(s step, out string) {
	v.t.Helper()
	lines := strings.Split(out, "\n")
	for _, want := range s.want {
		pattern := regexp.QuoteMeta(v.change(strings.ReplaceAll(strings.TrimSpace(want), "USER_ID", v.user)))
		for _, r := range []struct{ old, new string }{
			{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`},
			{`(ath_conn|ath_tk|ath|dec)_[\w-]+`, `${1}_[\w-]+`}, {`…`, `.*`}, {` +`, ` +`},
		} {
			pattern = regexp.MustCompile(r.old).ReplaceAllString(pattern, r.new)
		}
		whole := regexp.MustCompile(`^ *` + pattern + ` *$`)
		at := slices.IndexFunc(lines, whole.MatchString)
		if at < 0 {
			v.t.Errorf("%s shows for %s\n%s\nand it prints\n%s", v.page, s.line, want, out)
			return
		}
		lines = lines[at+1:]
	}
}

func (v *visit) command(ctx context.Context, words []string) (*exec.Cmd, *locked.Buffer) {
	cmd := exec.CommandContext(ctx, program(v.t, words[0]), words[1:]...)
	cmd.Dir = v.dir
	cmd.Env = append(cmd.Environ(), v.env...)
	out := &locked.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (v *visit) inBackground(words []string) {
	v.t.Helper()
	words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, ">") })
	cmd, out := v.command(v.t.Context(), words) // which ends it
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { cmd.Wait() })
	v.until(out, regexp.MustCompile(`serving the identity document`))
}

// agrees is the user, in a browser, at athd's page and the server's.
func (v *visit) agrees(words []string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	cmd, out := v.command(ctx, words)
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	link := v.until(out, linkInTerminal)[1]
	b := browser.New()
	defer b.Close()
	page, err := b.Get(ctx, link)
	for err == nil && len(page.Forms) == 1 {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err != nil || page.Status != 200 {
		v.t.Fatalf("the user's browser: %v\n%v\n%s", err, b.Steps(), out)
	}
	if err := cmd.Wait(); err != nil {
		v.t.Fatalf("%v: %v\n%s", words, err, out)
	}
}

func (v *visit) until(out *locked.Buffer, want *regexp.Regexp) []string {
	v.t.Helper()
	for range 500 {
		if m := want.FindStringSubmatch(out.String()); m != nil {
			return m
		}
		time.Sleep(20 * time.Millisecond)
	}
	v.t.Fatalf("it does not print %v:\n%s", want, out)
	return nil
}

// over looks at what the server saw: one refresh, and after it a call with the
// token that it gave.
func (v *visit) over(server tenant) {
	v.t.Helper()
	granted, reused := v.server.Refreshes()
	if len(granted) != 1 || reused != 0 || !strings.Contains(granted[0].Scope, server.sends) || server.sends == "" && granted[0].Scope != "" {
		v.t.Fatalf("the server was asked for %+v, and %d refresh tokens came twice", granted, reused)
	}
	var calls []string
	for _, r := range v.server.Requests() {
		if g, ok := v.server.Grant(r.Token); !ok || g.Kind == "userinfo" {
			v.t.Errorf("P-5: the API saw a token that is not for it: %s %s", r.Method, r.Target)
		}
		calls = append(calls, r.Token)
	}
	if n := len(calls); n < 2 || calls[n-1] != granted[0].Access || strings.Contains(strings.Join(calls, " "), "ath_tk_") {
		v.t.Errorf("the API saw %d calls, and the last one is not with the refreshed token", n)
	}
}
