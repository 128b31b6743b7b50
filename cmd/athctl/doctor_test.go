package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/doctor"
)

// Where athd's own listener cannot be asked, the way leads through public_url.
func TestDoctorSendsNoAdminTokenInTheClear(t *testing.T) {
	token := filepath.Join(t.TempDir(), "admin.token")
	if err := os.WriteFile(token, []byte(strings.Repeat("x1Y", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	terminal := cli.Terminal{LookupEnv: func(string) (string, bool) { return "", false }}
	for publicURL, asks := range map[string]bool{"http://gateway.example": false, "https://gateway.example": true, "http://127.0.0.1:8080": true} {
		c := newCommand(terminal, &cobra.Command{Use: "doctor"})
		d := doctor.Config{Settings: &config.Settings{PublicURL: publicURL, AdminTokenFile: token}}
		d.Settings.HTTP = config.Address{Network: "tcp", At: "127.0.0.1:0"}
		c.askNear(&d)
		if (d.Ask != nil) != asks || !asks && !strings.Contains(d.NoAsk, "the admin token would be readable") {
			t.Errorf("%s: %v, %q", publicURL, d.Ask != nil, d.NoAsk)
		}
	}
}
