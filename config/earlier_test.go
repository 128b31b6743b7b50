package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
)

// TestConfigurationsOfEarlierReleasesLoad: what users copied from the README,
// the guides, compose and Kubernetes of an earlier athd goes on working: of a
// commit, or of what was new then. Only add to testdata; a configuration that must no longer load is a line under
// "Important" in the changelog.
func TestConfigurationsOfEarlierReleasesLoad(t *testing.T) {
	want := map[string]string{ // the ids of its providers and apps
		"f1b7ae5/compose":                      "login market shop",
		"f1b7ae5/configuration":                "shop",
		"f1b7ae5/guide-any-provider":           "github tracker",
		"f1b7ae5/guide-github":                 "github",
		"f1b7ae5/guide-google":                 "gmail google-calendar",
		"f1b7ae5/guide-oauth-servers-any":      "shop",
		"f1b7ae5/guide-oauth-servers-auth0":    "shop",
		"f1b7ae5/guide-oauth-servers-clerk":    "shop",
		"f1b7ae5/guide-oauth-servers-keycloak": "shop",
		"f1b7ae5/guide-slack":                  "slack slack-bot",
		"f1b7ae5/guide-your-api":               "shop",
		"f1b7ae5/guide-your-envoy":             "shop",
		"f1b7ae5/kubernetes-envoy-gateway":     "gallery shop",
		"f1b7ae5/kubernetes-istio":             "gallery shop",
		"f1b7ae5/readme":                       "shop",
		"f1b7ae5/readme-github":                "github",

		"998e869/compose":                  "login market shop",
		"998e869/kubernetes-envoy-gateway": "gallery shop",
		"998e869/kubernetes-istio":         "gallery shop",

		"standing/compose":                  "login market shop",
		"standing/every-section":            "files github shop", // before there were run-time providers and roles
		"standing/kubernetes-envoy-gateway": "gallery shop",
		"standing/kubernetes-istio":         "gallery shop",

		"runtime/compose":                  "login market shop",
		"runtime/every-section":            "files github shop", // before there were watched streams and ext_proc
		"runtime/kubernetes-envoy-gateway": "gallery shop",
		"runtime/kubernetes-istio":         "gallery shop",
	}
	files, err := filepath.Glob("testdata/*/*/athd.yaml")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d configurations, want %d: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name, _ := filepath.Rel("testdata", filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			m := earlierMachine(t)
			m.put(t, "/etc/athd/athd.yaml", file)
			if providers := filepath.Join(filepath.Dir(file), "providers.json"); exists(providers) {
				m.put(t, "/etc/athd/providers.json", providers)
			}
			s, faults := Load("/etc/athd/athd.yaml", sources(m.Machine))
			if faults != nil {
				t.Fatal(faults)
			}
			var ids []string
			for _, p := range s.Providers.All() {
				ids = append(ids, p.ID)
			}
			if got := strings.Join(ids, " "); got != want[name] {
				t.Errorf("providers and apps are %q, want %q", got, want[name])
			}
		})
	}
}

type earlier struct{ configtest.Machine }

// earlierMachine has the files and variables that the configurations refer to.
func earlierMachine(t *testing.T) earlier {
	m := earlier{configtest.NewMachine(t)}
	for name, as := range map[string]string{
		"/etc/athd/secrets/redis.url": "redis.url", "/etc/secrets/redis.url": "redis.url",
		"/etc/athd/secrets/keyset.json": "keyset.json", "/etc/secrets/keyset.json": "keyset.json",
		"/etc/athd/secrets/admin.token": "admin.token", "/etc/secrets/admin.token": "admin.token",
		"/etc/athd/secrets/client.secret": "admin.token", "/etc/secrets/shop.secret": "admin.token", "/etc/secrets/gallery.secret": "admin.token",
		"/etc/tls/tls.crt": "cert.pem", "/etc/tls/tls.key": "key.pem", "/etc/tls/ca.crt": "ca.pem",
	} {
		m.Files[name] = m.Files["/etc/athd/"+as]
	}
	for _, name := range []string{"SHOP", "GITHUB", "GOOGLE", "SLACK", "TRACKER"} {
		m.Variables[name+"_CLIENT_ID"], m.Variables[name+"_CLIENT_SECRET"] = "id", "secret"
	}
	return m
}

func (m earlier) put(t *testing.T, name, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	m.Files[name] = string(data)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
