package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/athd/athd/internal/probe"
)

func (d *doctor) athd(ctx context.Context, f *findings) {
	const asked = "whether athd is ready (/readyz on listen.admin)"
	if d.Admin == nil {
		f.notAsked("ready", asked, "listen.admin is not known", "athctl doctor --admin http://127.0.0.1:9002")
		return
	}
	r, err := probe.Ready(ctx, d.Admin.Network, d.Admin.At)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
		f.fault("ready", asked, fmt.Sprintf("athd does not listen at %s (listen.admin)", d.Admin), "start it: athd serve --config "+d.file()+"; if it ended, the last lines of its log say why")
		return
	case err != nil:
		f.fault("ready", asked, fmt.Sprintf("athd does not answer at %s (listen.admin): %v", d.Admin, err), "in athd.yaml, listen.admin: another address than this program's; or athctl doctor --admin URL")
		return
	}
	running := r.Version
	if running == "" {
		running = "of a version that does not say itself"
	}
	if missing := r.Missing(); missing != "" {
		f.fault("ready", asked, fmt.Sprintf("athd %s at %s is %s", running, d.Admin, missing), "see what is said of Redis above, and the last lines of athd's log")
	} else {
		f.ok("ready", asked, fmt.Sprintf("athd %s at %s is ready", running, d.Admin))
	}
	if r.Version != "" && r.Version != d.Version {
		f.warn("version", "whether athd and athctl are of one version", fmt.Sprintf("athd is %s, and this athctl %s", r.Version, d.Version), "use the athctl of the release that runs; docs/guides/upgrading.md says how to upgrade athd")
	}
	for _, w := range r.Warnings {
		if d.Settings == nil || !slices.Contains(d.Settings.Warnings, w) {
			f.warn("warning", "what athd warns of", w, d.cureOf(w))
		}
	}
}

// cureOf is what to do about a warning of /readyz: most say it themselves.
func (d *doctor) cureOf(warning string) string {
	switch {
	// First what repeats other texts.
	case strings.HasPrefix(warning, "the configuration has changed, and waits for a restart") && strings.Contains(warning, "athd bootstrap"):
		return "athd bootstrap --config " + d.file() + ", give Envoy what it prints, then restart athd"
	case strings.HasPrefix(warning, "the configuration has changed, and waits for a restart"):
		return "restart athd"
	case strings.HasPrefix(warning, "the files of the configuration are not what is in use") && strings.Contains(warning, "at SIGHUP only"):
		return "send athd SIGHUP if it is meant, or put back what is missing; do not restart it before"
	case strings.HasPrefix(warning, "the files of the configuration are not what is in use"):
		return "put the files right: athd reads them by itself; athd validate --config " + d.file() + " says whether they can be loaded. Do not restart it before"
	case strings.HasPrefix(warning, "the file of the keyset"), strings.HasPrefix(warning, "the keyset: "):
		return "athd keys status --config " + d.file() + " says which athd has which keys"
	case strings.Contains(warning, "run-time provider"):
		return "see what is said below of providers that were added while athd runs"
	case strings.Contains(warning, "its OAuth server"):
		return "see what is said of the providers below"
	case strings.Contains(warning, "audit events") || strings.Contains(warning, "events of allowed"):
		return "make room where audit.file is, or read the pipe that athd's log goes to: docs/operations.md#when-the-log-cannot-be-written"
	case strings.Contains(warning, "maxmemory-policy"):
		return "redis-cli CONFIG SET maxmemory-policy noeviction"
	case strings.Contains(warning, "WAIT"):
		return "redis-cli ACL SETUSER athd +wait +role"
	case strings.Contains(warning, "subscribe"):
		return "redis-cli ACL SETUSER athd +subscribe +publish '&ath:*'"
	}
	return "change it in " + d.file() + " (docs/configuration.md has each key, and what of it takes a restart)"
}

// file is athd.yaml as it was named, or its usual name.
func (d *doctor) file() string {
	if d.File == "" {
		return "athd.yaml"
	}
	return d.File
}
