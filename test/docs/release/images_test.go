package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const created = "2026-12-01T10:20:30Z"

// releaseImages runs make release-images with a docker that only writes down what
// it was called with, one call a line, and a git of the release of these tests.
func releaseImages(t *testing.T, args ...string) (calls []string, err error) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	for name, script := range map[string]string{
		"docker": `echo "$*" >>'` + log + `'`,
		"git":    `case $1 in rev-parse) echo ` + revision + `;; log) echo ` + created + `;; esac`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"-s", "release-images", "BUILD=" + dir}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("%s", out)
		return nil, err
	}
	text, err := os.ReadFile(log)
	return strings.Split(strings.TrimSpace(string(text)), "\n"), err
}

func TestImagesOfAReleaseAreForTwoPlatformsAndNamedByTheTag(t *testing.T) {
	for _, push := range []bool{false, true} {
		args := []string{"VERSION=" + tag}
		if push {
			args = append(args, "PUSH=1")
		}
		calls, err := releaseImages(t, args...)
		if err != nil || len(calls) != 2 {
			t.Fatalf("%v: %q", err, calls)
		}
		for i, program := range []string{"athd", "athctl"} {
			words := strings.Fields(calls[i])
			for _, want := range [][]string{
				{"--target", program}, {"--platform", "linux/amd64,linux/arm64"}, {"--tag", "ghcr.io/athd/" + program + ":" + tag},
				{"--build-arg", "VERSION=" + tag}, {"--build-arg", "REVISION=" + revision},
				{"--label", "org.opencontainers.image.created=" + created}, {"--sbom=true"}, {"--provenance=mode=max"},
			} {
				if !strings.Contains(calls[i]+" ", " "+strings.Join(want, " ")+" ") {
					t.Errorf("%s: docker %s: want %v", program, calls[i], want)
				}
			}
			if got := slices.Contains(words, "--push"); got != push {
				t.Errorf("%s: pushed %v, want %v", program, got, push)
			}
		}
	}
	if calls, err := releaseImages(t); err == nil {
		t.Errorf("without a version: %q", calls)
	}
}
