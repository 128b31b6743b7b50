package guides

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/internal/shop"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// mostCommands is how many commands a reader may have to type, from an empty
// folder to the first call of an API.
const mostCommands = 6

// A reader is somebody who types what README says, beside an OAuth server and
// a shop that listen elsewhere than README's.
type reader struct {
	t      *testing.T
	dir    string
	env    []string
	swap   []string // README's addresses and ours
	edit   func()   // what else is to be changed in what athd init wrote
	typed  []string // as README has it
	began  time.Time
	up     *stage.Up
	secret string
}

// section returns the commands to type below a heading of README, line by line.
func section(t *testing.T, heading string) (lines []string) {
	t.Helper()
	_, text, found := strings.Cut(read(t, "README.md"), "\n"+heading+"\n")
	if !found {
		t.Fatalf("README has no %q", heading)
	}
	text = regexp.MustCompile(`(?m)^##`).Split(text, 2)[0]
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "sh" {
			lines = append(lines, strings.Split(strings.TrimSpace(m[2]), "\n")...)
		}
	}
	return lines
}

// README's first minute, typed as it stands into an empty folder, in front of a
// shop with an OAuth server, up to a call that the shop answers with the user's
// own token. Ports and the addresses of shop and OAuth server are others; athd,
// athctl and Envoy are in PATH.
func TestReadmesFirstMinute(t *testing.T) {
	r, theShop := newReader(t)
	var agent *agentAtWork
	for _, line := range section(t, "### In front of your own API") {
		if started := r.types(line); started != nil {
			agent = started
		}
	}
	if r.up == nil || agent == nil {
		t.Fatal("README does not start athd, or no agent")
	}
	r.approve("shop/products:read")
	r.consent(agent.waitsFor(linkOfConsent)[1])
	agent.waitsFor(regexp.MustCompile(`6\. Call: what the scopes cover passes \(GET /api/products 200\) ✓`))
	first := time.Since(r.began)
	agent.ends()

	if seen := theShop.Seen(); len(seen) != 1 || seen[0].Target != "/api/products" || strings.Contains(fmt.Sprint(seen[0].Header), "ath_tk_") {
		t.Errorf("the shop saw %+v, want one call, with the user's own token", seen)
	}
	if len(r.typed) > mostCommands {
		t.Errorf("%d commands, more than %d", len(r.typed), mostCommands)
	}
	t.Logf("%d commands and %.1f seconds from an empty folder to the first call of the API:\n  %s", len(r.typed), first.Seconds(), strings.Join(r.typed, "\n  "))
}

// README's second way, at a stand-in for GitHub, whose address takes the place
// of GitHub's in providers.json.
func TestReadmesFirstMinuteAtGitHub(t *testing.T) {
	r, _ := newReader(t)
	github := standins.GitHub(t)
	r.secret = standins.ClientSecret
	r.put("Ov23liabc123", standins.ClientID)
	r.edit = func() {
		path := filepath.Join(r.dir, "providers.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("https://github.com", github.URL, "https://api.github.com", github.URL, `"display_name"`, `"preset": "github", "display_name"`).Replace(string(text))
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range section(t, "### In front of GitHub") {
		r.types(line)
	}
	var agent *agentAtWork
	for _, line := range section(t, "### In front of your own API") {
		if strings.HasPrefix(line, "athctl try run ") {
			agent = r.types(strings.Replace(line, "'GET /api/products'", "'GET /user'", 1))
		}
	}
	if r.up == nil || agent == nil {
		t.Fatal("README does not start athd, or no agent")
	}
	r.approve("github/read:user")
	r.consent(agent.waitsFor(linkOfConsent)[1])
	agent.waitsFor(regexp.MustCompile(`6\. Call: what the scopes cover passes \(GET /ath/proxy/github/user 200\) ✓`))
	first := time.Since(r.began)
	agent.ends()
	if len(r.typed) > mostCommands {
		t.Errorf("%d commands, more than %d", len(r.typed), mostCommands)
	}
	t.Logf("%d commands and %.1f seconds:\n  %s", len(r.typed), first.Seconds(), strings.Join(r.typed, "\n  "))
}

var linkOfConsent = regexp.MustCompile(`\n  (http://\S+/ath/consent/start\S+)\n`)

// types does what a line of README says. It returns the agent, if that is
// started.
func (r *reader) types(line string) *agentAtWork {
	r.t.Helper()
	r.note(line)
	switch words := commands(line); {
	case strings.HasPrefix(line, "mkdir "): // the folder is there
	case strings.HasPrefix(line, "export ") && strings.Contains(line, "_CLIENT_SECRET=…"):
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		r.env = append(r.env, name+"="+r.secret)
	case strings.HasPrefix(line, "athd init "):
		r.initialize(words[0])
	case strings.HasPrefix(line, "athd up"):
		r.up = stage.StartUp(r.t, r.dir, r.env...)
		r.up.Says("Ctrl-C ends both.")
	case strings.HasPrefix(line, "athctl try run "):
		return r.startAgent(words[0])
	default:
		r.t.Fatalf("README has a reader type what this test does not know: %s", line)
	}
	return nil
}

// approve types what athd up prints when an agent waits.
func (r *reader) approve(scopes string) {
	r.t.Helper()
	r.up.Says(" waits for your approval, for " + scopes)
	line := "athctl agents approve" + r.up.Says("\n  athctl agents approve")
	r.note(line)
	if out, err := r.run(r.t.Context(), commands(line)[0]); err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// newReader has an empty folder, and what README presumes.
func newReader(t *testing.T) (*reader, *shop.Shop) {
	t.Helper()
	envoy := realenvoy.Binary(t)
	r := &reader{t: t, dir: t.TempDir(), began: time.Now(), secret: "s3cret-of-the-first-minute"}
	public := reserve.Addr(t)
	_, port, _ := net.SplitHostPort(public)
	server := httptest.NewUnstartedServer(nil)
	oauth, err := oauthserver.New(oauthserver.Config{
		Issuer: "http://" + server.Listener.Addr().String(),
		Clients: []oauthserver.Client{{
			ID: "athd", Name: "athd", Secret: r.secret, RedirectURIs: []string{"http://localhost:" + port + "/ath/callback"},
			Scopes: []string{"products:read", "orders:read"},
		}},
		Users: []oauthserver.User{{ID: "user-1", Name: stage.User, Password: stage.Password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = oauth
	server.Start()
	t.Cleanup(server.Close)
	theShop := shop.New(oauth.Lookup)
	upstream := httptest.NewServer(theShop)
	t.Cleanup(upstream.Close)
	r.put("https://login.example.com", server.URL)
	r.put("http://127.0.0.1:3000", upstream.URL)
	r.put("http://localhost:8080", "http://localhost:"+port)
	path := t.TempDir()
	for name, at := range map[string]string{"athd": stage.Binary(t), "athctl": program(t, "athctl"), "envoy": envoy} {
		if err := os.Symlink(at, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.env = []string{"PATH=" + path + ":" + os.Getenv("PATH"), "ATHD_ENVOY="}
	r.began = time.Now() // what is built here, a reader has
	return r, theShop
}

func (r *reader) put(theirs, ours string) { r.swap = append(r.swap, theirs, ours) }

// note counts what is typed, without its comment.
func (r *reader) note(line string) {
	line, _, _ = strings.Cut(line, " #")
	r.typed = append(r.typed, strings.TrimSpace(line))
}

func (r *reader) command(ctx context.Context, words []string) *exec.Cmd {
	args := make([]string, len(words))
	for i, word := range words {
		args[i] = swapped(word, r.swap)
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(r.env[0], "PATH="), ":")
	cmd := exec.CommandContext(ctx, filepath.Join(path, args[0]), args[1:]...)
	cmd.Dir = r.dir
	cmd.Env = append(cmd.Environ(), r.env...)
	return cmd
}

func (r *reader) run(ctx context.Context, words []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := r.command(ctx, words).CombinedOutput()
	return string(out), err
}

// initialize types athd init, and gives what it wrote the ports of this test:
// others run beside it.
func (r *reader) initialize(words []string) {
	r.t.Helper()
	out, err := r.run(r.t.Context(), append(words, "--public-url", "http://localhost:8080"))
	if err != nil {
		r.t.Fatalf("athd init: %v\n%s", err, out)
	}
	if !strings.Contains(out, "_CLIENT_SECRET=…") || !strings.Contains(out, "\n  athd up\n") {
		r.t.Errorf("athd init does not say what README has a reader type next:\n%s", out)
	}
	path := filepath.Join(r.dir, "athd.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := string(text)
	for _, port := range []string{"http: 127.0.0.1:9000", "admin: 127.0.0.1:9002"} {
		key, _, _ := strings.Cut(port, ":")
		if !strings.Contains(changed, port) {
			r.t.Fatalf("athd.yaml has no %s:\n%s", port, changed)
		}
		changed = strings.Replace(changed, port, key+": "+reserve.Addr(r.t), 1)
	}
	changed = strings.Replace(changed, "\nenvoy:", "\nenvoy:\n  admin: "+reserve.Addr(r.t), 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if r.edit != nil {
		r.edit()
	}
}

// agentAtWork is athctl try run in another terminal.
type agentAtWork struct {
	t    *testing.T
	cmd  *exec.Cmd
	said string
	more chan string // a piece of what it prints; closed at its end
}

func (r *reader) startAgent(words []string) *agentAtWork {
	r.t.Helper()
	a := &agentAtWork{t: r.t, cmd: r.command(r.t.Context(), words), more: make(chan string)}
	read, write := io.Pipe()
	a.cmd.Stdout, a.cmd.Stderr = write, write
	if err := a.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { write.CloseWithError(a.cmd.Wait()) }()
	go func() {
		defer close(a.more)
		for lines := bufio.NewReader(read); ; {
			line, err := lines.ReadString('\n')
			a.more <- line
			if err != nil {
				if !errors.Is(err, io.EOF) {
					a.more <- fmt.Sprint(err)
				}
				return
			}
		}
	}()
	return a
}

// waitsFor reads until it prints something, and returns the match.
func (a *agentAtWork) waitsFor(want *regexp.Regexp) []string {
	a.t.Helper()
	for late := time.After(40 * time.Second); ; {
		if m := want.FindStringSubmatch(a.said); m != nil {
			return m
		}
		select {
		case text, there := <-a.more:
			if !there {
				a.t.Fatalf("the agent ends without %v:\n%s", want, a.said)
			}
			a.said += text
		case <-late:
			a.t.Fatalf("the agent does not print %v:\n%s", want, a.said)
		}
	}
}

// ends wants the agent to have ended well.
func (a *agentAtWork) ends() {
	a.t.Helper()
	a.waitsFor(regexp.MustCompile(`All \d+ checks held\.`))
	for text := range a.more {
		a.said += text
	}
	if a.cmd.ProcessState.ExitCode() != 0 {
		a.t.Errorf("the agent fails:\n%s", a.said)
	}
}

// consent is the user, in a browser.
func (r *reader) consent(link string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	b := browser.New()
	defer b.Close()
	page, err := b.Get(ctx, link)
	for err == nil && len(page.Forms) == 1 {
		form := page.Form()
		if len(form.Values("password")) > 0 {
			form = form.Fill("username", stage.User).Fill("password", stage.Password)
		} else {
			form = form.Click("Allow")
		}
		page, err = b.Submit(ctx, form)
	}
	if err != nil || page.Status != 200 {
		r.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
}
