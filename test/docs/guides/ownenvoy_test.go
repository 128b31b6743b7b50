package guides

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// The user's own Envoy of your-envoy.md, with athd's parts put in by athd
// bootstrap --into, and pasted by hand: it holds what athd bootstrap prints for the
// guide's file, verify-envoy finds nothing, and an agent walks through it.
func TestTheUsersOwnEnvoy(t *testing.T) {
	const page = "docs/guides/your-envoy.md"
	t.Setenv("SHOP_CLIENT_SECRET", standins.ClientSecret)
	s := settings(t, page)[0]
	before := read(t, "deploy/envoy/before.yaml")
	dir := t.TempDir()
	s.write(t, dir, func(text string) string { return text })
	bootstrap := func(args ...string) (stdout, stderr string) {
		stdout, stderr, err := stage.Run(t, dir, append([]string{"bootstrap"}, args...)...)
		if err != nil {
			t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
		}
		return stdout, stderr
	}

	t.Run("by athd bootstrap --into", func(t *testing.T) {
		if err := os.WriteFile(dir+"/envoy.yaml", []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		shown, told := bootstrap("--into", "envoy.yaml", "--yes")
		lines := 0
		for line := range strings.Lines(read(t, page)) { // what the guide shows of it is in it
			if strings.HasPrefix(line, "+") || strings.HasPrefix(line, "note: ") {
				if lines++; !strings.Contains(shown+told, line) {
					t.Errorf("no line %q is shown, but\n%s", line, told)
				}
			}
		}
		text, err := os.ReadFile(dir + "/envoy.yaml")
		if err != nil || lines < 3 {
			t.Fatal(err, lines)
		}
		ownEnvoy(t, page, parse(t, "envoy.yaml", string(text)), "1 listener, 9 routes, 7 clusters read; nothing differs.\n")
	})
	t.Run("by hand", func(t *testing.T) {
		as := object{}
		for _, part := range []string{"clusters", "filters", "routes"} {
			text, _ := bootstrap("--part", part)
			as[part] = parse(t, "athd bootstrap --part "+part, text)
		}
		after := parse(t, "after.yaml", read(t, "deploy/envoy/after.yaml"))
		holdsTheParts(t, after, as)
		holdsTheBefore(t, after, parse(t, "before.yaml", before))
		ownEnvoy(t, page, after, "1 listener, 8 routes, 6 clusters read; nothing differs.\n")
	})
}

// ownEnvoy runs a configuration with the guide's file and commands. The guide
// shows what verify-envoy says of it.
func ownEnvoy(t *testing.T, page string, config object, says string) {
	t.Helper()
	p, listen := newPlace(t, page)
	website := stage.StartUpstream(t, nil)
	s := settings(t, page)[0]
	athd := p.start(s)
	at := s.athd["listen"].(object)
	move(t, config, map[int]string{
		8080: listen, 9901: "127.0.0.1:0", 9001: at["grpc"].(string), 9000: at["http"].(string),
		3000: strings.TrimPrefix(p.api.URL, "http://"), 8000: strings.TrimPrefix(website.URL, "http://"),
	})
	moveClosed(t, config, map[string]any{"9000": at["http"], "9001": at["grpc"], "9002": at["admin"]})
	// Where the route in gateway mode leads is in its host header, too.
	text, err := yaml.Dump(config)
	if err != nil {
		t.Fatal(err)
	}
	host := "host_rewrite_literal: " + strings.TrimPrefix(p.api.URL, "http://")
	e := realenvoy.Start(t, []byte(strings.Replace(string(text), "host_rewrite_literal: 127.0.0.1:3000", host, 1)))

	verified := 0
	p.put("http://127.0.0.1:9901", e.AdminURL())
	p.put("127.0.0.1:9001", at["grpc"].(string))
	for _, words := range typed(t, page) {
		if len(words) > 1 && words[1] == "verify-envoy" {
			for i := range words {
				words[i] = p.change(words[i])
			}
			if out, code := p.types(words); code != 0 || out != says || !strings.Contains(read(t, page), out) {
				t.Errorf("%q: exit code %d, want %q here and in the guide, got\n%s", words, code, says, out)
			}
			verified++
		}
	}
	if walks := p.walk(s.commands); walks != 1 || verified != 1 {
		t.Errorf("%d walks, and verified %d times", walks, verified)
	}
	p.sawUsersTokens(page)
	for path, want := range map[string]*stage.Upstream{"/": website, "/api/products": p.api} {
		want.Forget()
		if resp, err := http.Get(p.public + path); err != nil || resp.StatusCode != 200 || want.Hits() != 1 {
			t.Errorf("%s: %v %v\n%s", path, resp, err, athd.Logs())
		}
	}
}
