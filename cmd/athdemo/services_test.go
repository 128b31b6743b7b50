package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/internal/cli"
)

// spoken is what a service has written so far.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// wait returns the first match of the pattern.
func (s *spoken) wait(t *testing.T, pattern string) []string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		m := regexp.MustCompile(pattern).FindStringSubmatch(s.text.String())
		s.mu.Unlock()
		if m != nil {
			return m
		}
	}
	t.Fatalf("no %q in %q", pattern, s.text.String())
	return nil
}

// says is a terminal at which nobody types.
func says(stdout, stderr io.Writer) cli.Terminal {
	return cli.Terminal{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, LookupEnv: os.LookupEnv}
}

// run starts a service; stop ends it and wants it to end well.
func run(t *testing.T, args ...string) (out *spoken, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out = &spoken{}
	code := make(chan int, 1)
	go func() { code <- command(ctx, args, says(out, out)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("%v: exit code %d: %s", args, got, out.text.String())
		}
	})
	t.Cleanup(stop)
	return out, stop
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("a-secret-of-some-length\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func status(t *testing.T, url, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// The shop asks the OAuth server about each token, with its own secret.
func TestShopAsksTheOAuthServer(t *testing.T) {
	secret := secretFile(t)
	login, stopLogin := run(t, "oauth", "--listen=127.0.0.1:0", "--issuer=http://127.0.0.1:1", "--callback=http://127.0.0.1:1/ath/callback",
		"--client-secret-file="+secret, "--shop-secret-file="+secret, "--state="+filepath.Join(t.TempDir(), "grants.json"))
	oauth := "http://" + login.wait(t, `serving on (\S+)`)[1]
	if got := status(t, oauth+"/.well-known/openid-configuration", ""); got != 200 {
		t.Errorf("metadata: %d", got)
	}
	store, _ := run(t, "shop", "--listen=127.0.0.1:0", "--introspect="+oauth+"/introspect", "--secret-file="+secret)
	api := "http://" + store.wait(t, `serving on (\S+)`)[1] + "/api/products"
	for _, token := range []string{"", "guess"} {
		if got := status(t, api, token); got != 401 {
			t.Errorf("with the token %q: %d", token, got)
		}
	}
	if out := store.text.String(); strings.Contains(out, "asking about a token") {
		t.Errorf("the OAuth server did not know the shop: %s", out)
	}
	var quiet bytes.Buffer
	if code := command(t.Context(), []string{"health", "--url", api, "--status", "401"}, says(&quiet, &quiet)); code != 0 {
		t.Errorf("health: %d %s", code, &quiet)
	}
	if code := command(t.Context(), []string{"health", "--url", api}, says(&quiet, &quiet)); code != 1 {
		t.Errorf("health of what answers 401: %d", code)
	}
	stopLogin()
	if got := status(t, api, "guess"); got != 401 {
		t.Errorf("without an OAuth server somebody got in: %d", got)
	}
	store.wait(t, `asking about a token: .*(refused|EOF|reset)`) // the last two: by a connection of before
}

func TestIntrospectorReadsReplies(t *testing.T) {
	tests := []struct {
		name, reply string
		status      int
		user        string
		ok          bool
	}{
		{"active", `{"active":true,"sub":"u-1","scope":"a b"}`, 200, "u-1", true},
		{"not active", `{"active":false,"sub":"u-1","scope":"a"}`, 200, "", false},
		{"active, but nobody's", `{"active":true}`, 200, "", false},
		{"no JSON", `active`, 200, "", false},
		{"an error", `{"active":true,"sub":"u-1"}`, 500, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, test.reply)
			}))
			defer server.Close()
			i := &introspector{endpoint: server.URL, client: server.Client(), trouble: func(error) {}}
			user, scopes, ok := i.lookup("token")
			if ok != test.ok || ok && (user != test.user || strings.Join(scopes, " ") != "a b") {
				t.Errorf("%q %v %v", user, scopes, ok)
			}
		})
	}
}

func TestReadyTellsWhatItWaitsForAndOnceEverythingAnswers(t *testing.T) {
	var well atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" && !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	out, _ := run(t, "ready", "--public="+server.URL, "--login="+server.URL)
	out.wait(t, `Waiting, not everything answers: \S+/.well-known/openid-configuration answers 503`)
	well.Store(true)
	out.wait(t, `(?s)Everything answers.*log in as alice`)
}

func TestServicesWantTheirFlags(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"oauth"}, 2, "--issuer is missing"},
		{[]string{"shop", "--introspect=http://127.0.0.1:1"}, 2, "--secret-file is missing"},
		{[]string{"shop", "--introspect=http://127.0.0.1:1", "--secret-file=" + missing}, 1, "no such file"},
		{[]string{"secrets"}, 2, "--dir is missing"},
		{[]string{"secrets", "--dir=" + missing}, 1, "no such file"},
		{[]string{"ready", "--public=x", "--login=y", "z"}, 2, `unexpected argument "z"`},
		{[]string{"health", "-h"}, 0, "that must answer"},
		{[]string{"health", "--url", "http://127.0.0.1:1/"}, 1, "refused"},
	} {
		var out bytes.Buffer
		if code := command(t.Context(), test.args, says(&out, &out)); code != test.code || !strings.Contains(out.String(), test.says) {
			t.Errorf("%v: %d %s", test.args, code, &out)
		}
	}
}
