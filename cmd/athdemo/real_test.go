package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// realEnvoy finds the Envoy that tests run on.
func realEnvoy(t *testing.T) string {
	t.Helper()
	if strings.Contains(","+os.Getenv("ATHD_TEST_SKIP")+",", ",envoy,") {
		t.Skip("ATHD_TEST_SKIP names envoy")
	}
	for _, dir := range []string{os.Getenv("ATHD_TOOLS"), filepath.Join("..", "..", ".tools", "bin")} {
		if path := filepath.Join(dir, "envoy"); dir != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		t.Fatal("no Envoy: run make test, which gets one, or set ATHD_TEST_SKIP=envoy")
	}
	return path
}

func realAthd(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "athd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../athd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// whole matches a secret of which more is printed than its beginning.
var whole = regexp.MustCompile(`(?:ath_(?:tk|rt|secret|code|sess)|user|refresh|code)_[\w-]{20,}|eyJ[\w-]{20,}`)

func TestDemoOnRealParts(t *testing.T) {
	envoy, athd := realEnvoy(t), realAthd(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := command(ctx, []string{"--athd", athd, "--envoy", envoy, "-v"}, says(&stdout, &stderr)); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, stdout.String(), stderr.String())
	}
	for _, want := range []string{
		"Envoy 1.", "1. Discover", "2. Register", "3. Authorize", "4. Call", "5. The shop rejects", "6. Call outside", "7. The same token under another", "8. Renew", "9. Stream", "10. Revoke", "11. Add a provider", "12. Remove the provider",
		"the shop saw: GET /api/products\n", "SCOPE_NOT_APPROVED", "AGENT_IDENTITY_MISMATCH", "TOKEN_REVOKED", "checks held", "What to try next",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if held := regexp.MustCompile(`All \d+ checks held`).FindString(stdout.String()); err != nil || !strings.Contains(string(readme), "`"+held+"`") {
		t.Errorf("the demo ends with %q, and README.md with another number: %v", held, err)
	}
	lines := oneLineASteps(t, athd, envoy)
	if want := 12; len(lines) != want {
		t.Errorf("without -v %d steps are printed as one line, want %d:\n%s", len(lines), want, strings.Join(lines, "\n"))
	}
	comparePicture(t, lines)
	if found := whole.FindString(strings.ReplaceAll(stdout.String(), "code_challenge_method", "")); found != "" {
		t.Errorf("the demo prints a secret: %.12s…", found)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// oneLineASteps is the demo without -v: the lines of steps that went as they
// must.
func oneLineASteps(t *testing.T, athd, envoy string) (steps []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := command(ctx, []string{"--athd", athd, "--envoy", envoy}, says(&stdout, &stderr)); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, stdout.String(), stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(line, " ✓") && line[0] >= '1' && line[0] <= '9' {
			steps = append(steps, line)
		}
		if strings.Contains(line, "→") || strings.Contains(line, "Authorization") {
			t.Errorf("without -v bytes are printed: %s", line)
		}
	}
	return steps
}
