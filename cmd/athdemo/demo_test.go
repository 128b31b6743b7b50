package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestConfigurationIsYAMLWithTheAddresses(t *testing.T) {
	text, err := addresses{
		Public: "http://127.0.0.1:1", Consent: "http://localhost:1", EnvoyListen: "127.0.0.1:1", EnvoyAdmin: "127.0.0.1:2", GRPC: "unix:/s",
		HTTP: "127.0.0.1:3", Admin: "127.0.0.1:4", OAuth: "http://127.0.0.1:5", Shop: "http://127.0.0.1:6", Agents: "http://127.0.0.1:7/agents",
	}.yaml()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		PublicURL  string `yaml:"public_url"`
		ConsentURL string `yaml:"consent_url"`
		Apps       []struct {
			AppID       string   `yaml:"appId"`
			CallbackURL string   `yaml:"callbackUrl"`
			Upstream    string   `yaml:"upstream"`
			Scopes      []string `yaml:"availableScopes"`
		} `yaml:"apps"`
		Approval struct{ Rules []struct{ Agents []string } } `yaml:"approval"`
	}
	if err := yaml.Load(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.PublicURL != "http://127.0.0.1:1" || config.ConsentURL != "http://localhost:1" || len(config.Apps) != 1 || config.Apps[0].CallbackURL != "http://127.0.0.1:1/ath/callback" ||
		config.Apps[0].Upstream != "http://127.0.0.1:6" || len(config.Apps[0].Scopes) != 4 ||
		len(config.Approval.Rules) != 1 || config.Approval.Rules[0].Agents[0] != "http://127.0.0.1:7/agents/*" {
		t.Errorf("config = %+v", config)
	}
}

func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandFailsCleanly(t *testing.T) {
	envoy := script(t, "envoy", `echo "envoy  version: 0123456789abcdef/1.40.0/Clean/RELEASE/BoringSSL"`)
	silent := script(t, "silent", `echo hello`)
	// An athd whose configuration is refused, after it has made its keys.
	athd := script(t, "athd", `case $1 in version) echo athd test;; keys) : >"$4";; *) echo "athd.yaml:3:1: no" >&2; exit 1;; esac`)
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown flag", []string{"--nosuch"}, 2, "nosuch"},
		{"argument", []string{"keep"}, 2, `no such command: "keep"`},
		{"help", []string{"-h"}, 0, "--keep"},
		{"no Envoy", []string{"--envoy", "/nonexistent/envoy"}, 1, "/nonexistent/envoy"},
		{"not Envoy", []string{"--envoy", silent}, 1, "which is not Envoy"},
		{"no athd", []string{"--envoy", envoy, "--athd", "/nonexistent/athd"}, 1, "/nonexistent/athd"},
		{"athd refuses its configuration", []string{"--envoy", envoy, "--athd", athd}, 1, "athd.yaml:3:1: no"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var stdout, stderr bytes.Buffer
			if code := command(ctx, test.args, says(&stdout, &stderr)); code != test.code || !strings.Contains(stdout.String()+stderr.String(), test.want) {
				t.Errorf("exit %d, %q %q, want %d and %q", code, stdout.String(), stderr.String(), test.code, test.want)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}
