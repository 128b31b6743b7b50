package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/ports"
	"github.com/athd/athd/tokenstore"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"athd": main})
}

// TestScripts runs athd as its users do. Beside the commands of testscript
// there are
//
//	get SOCKET PATH STATUS [REGEXP...]   asks over a Unix socket until the answer is as wanted
//	hang SOCKET                          has a request under way that never ends
//	terminate                            sends SIGTERM to what runs in the background
//	hangup                               sends it SIGHUP
//	capture VARIABLE REGEXP              the first group of what the last command printed
//	key VARIABLE N FILE                  the id of the N-th key of a keyset
//	redis reserve | start                a Redis work-alike on a port that $REDIS names
//	lines N FILE                         the file has so many lines
//	front reserve                        a port that $FRONT names, at which nothing listens
//	front lead SOCKET | answer STATUS    what stands before athd at $FRONT leads there, or answers so itself
//	issuer [MEMBERS]                     an OAuth server at $ISSUER with metadata, MEMBERS being further ones in JSON
//	mode MODE FILE                       the file has this mode
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"get": scriptGet, "hang": scriptHang, "terminate": scriptTerminate, "hangup": scriptHangup, "capture": scriptCapture, "key": scriptKey, "redis": scriptRedis, "lines": scriptLines, "front": scriptFront,
			"issuer": scriptIssuer, "mode": scriptMode,
		},
	})
}

func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: get SOCKET PATH STATUS [REGEXP...]")
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", ts.MkAbs(args[0]))
		},
	}}
	wanted := func() (string, bool) {
		r, err := client.Get("http://athd" + args[1])
		if err != nil {
			return err.Error(), false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || strconv.Itoa(r.StatusCode) != args[2] {
			return r.Status + "\n" + string(body), false
		}
		for _, want := range args[3:] {
			if !regexp.MustCompile(want).Match(body) {
				return "no match for " + want + " in\n" + string(body), false
			}
		}
		return "", true
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, ok := wanted()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("get %s: %s", args[1], got)
		}
	}
}

func scriptHang(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	_, err = io.WriteString(conn, "POST /ath/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	ts.Check(err)
	_, err = conn.Read(make([]byte, 1)) // the server has it
	ts.Check(err)
}

func scriptTerminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

func scriptHangup(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGHUP))
	}
}

func scriptCapture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func scriptKey(ts *testscript.TestScript, _ bool, args []string) {
	keys, err := tokenstore.ParseKeyset([]byte(ts.ReadFile(args[2])))
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Setenv(args[0], strconv.FormatUint(uint64(keys.Keys()[n-1].ID), 10))
}

func scriptRedis(ts *testscript.TestScript, _ bool, args []string) {
	switch strings.Join(args, " ") {
	case "reserve":
		address, release, err := ports.Reserve()
		ts.Check(err)
		ts.Defer(release)
		ts.Setenv("REDIS", address)
	case "start":
		server := miniredis.NewMiniRedis()
		ts.Check(server.StartAddr(ts.Getenv("REDIS")))
		ts.Defer(server.Close)
	default:
		ts.Fatalf("usage: redis reserve | start")
	}
}

func scriptLines(ts *testscript.TestScript, _ bool, args []string) {
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s has %d lines, want %s", args[1], got, args[0])
	}
}

// TestExitCodes: scripts can trust them.
func TestExitCodes(t *testing.T) {
	faulty := t.TempDir() + "/athd.yaml"
	if err := os.WriteFile(faulty, []byte("public_url: nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want int
	}{
		{"no command is a wrong usage", nil, cli.ExitUsage},
		{"an unknown command is a wrong usage", []string{"frobnicate"}, cli.ExitUsage},
		{"an unknown flag is a wrong usage", []string{"validate", "--frobnicate"}, cli.ExitUsage},
		{"an argument too many is a wrong usage", []string{"serve", "athd.yaml"}, cli.ExitUsage},
		{"keys wants a verb", []string{"keys"}, cli.ExitUsage},
		{"keys new wants a file", []string{"keys", "new"}, cli.ExitUsage},
		{"help is no fault", []string{"help"}, cli.ExitOK},
		{"help of a command is no fault", []string{"serve", "-h"}, cli.ExitOK},
		{"version", []string{"version"}, cli.ExitOK},
		{"validate refuses a faulty file", []string{"validate", "--config", faulty}, cli.ExitFault},
		{"bootstrap refuses a faulty file", []string{"bootstrap", "--config", faulty}, cli.ExitFault},
		{"serve refuses a faulty file", []string{"serve", "--config", faulty}, cli.ExitFault},
		{"serve refuses a missing file", []string{"serve", "--config", faulty + "x"}, cli.ExitFault},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if got := run(test.args, terminal{cli.Terminal{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, LookupEnv: os.LookupEnv}}); got != test.want {
				t.Errorf("exit code %d, want %d\n%s", got, test.want, &out)
			}
			if out.Len() == 0 {
				t.Error("nothing was said")
			}
		})
	}
}

func scriptFront(ts *testscript.TestScript, _ bool, args []string) {
	serve := func(h http.Handler) {
		l, err := net.Listen("tcp", ts.Getenv("FRONT"))
		ts.Check(err)
		server := &http.Server{Handler: h}
		go server.Serve(l)
		ts.Defer(func() { server.Close() })
	}
	switch {
	case len(args) == 1 && args[0] == "reserve":
		address, release, err := ports.Reserve()
		ts.Check(err)
		ts.Defer(release)
		ts.Setenv("FRONT", address)
	case len(args) == 2 && args[0] == "lead":
		socket := ts.MkAbs(args[1])
		serve(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "athd" },
			Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}},
		})
	case len(args) == 2 && args[0] == "answer":
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	default:
		ts.Fatalf("usage: front reserve | lead SOCKET | answer STATUS")
	}
}

func scriptIssuer(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/oauth-authorization-server" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"%[2]s}`, "http://"+r.Host, strings.Join(args, ""))
	}))
	ts.Defer(server.Close)
	ts.Setenv("ISSUER", server.URL)
}

func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
