package doctor

import (
	"strings"
	"testing"
)

// What /readyz warns of has a cure of its own: a restart is none for a configuration
// that athd would not start with.
func TestWarningsOfAthdHaveTheirCures(t *testing.T) {
	d := &doctor{Config: Config{File: "/etc/athd/athd.yaml"}}
	for warning, want := range map[string]string{
		"the configuration has changed, and waits for a restart: listen.http":                                                                                                      "restart athd",
		"the configuration has changed, and waits for a restart: egress.allow (Envoy's configuration has it, too: athd bootstrap, give it to Envoy, restart athd)":                 "athd bootstrap --config /etc/athd/athd.yaml, give Envoy what it prints, then restart athd",
		"the files of the configuration are not what is in use, since 2026-11-29T12:00:00Z: admin.tokens has 1 in place of 2: what a slip could take away is taken at SIGHUP only": "send athd SIGHUP if it is meant",
		"the files of the configuration are not what is in use, since 2026-11-29T12:00:00Z: athd.yaml:3: audit events: unknown":                                                    "put the files right",
		"the file of the keyset is not what is in use: it has no key":                                                                                                              "athd keys status --config /etc/athd/athd.yaml",
		"the keyset: key 1 is to seal, and does not yet: athd-2/abcdef lacks it":                                                                                                   "athd keys status",
		"2 run-time providers cannot be used by this athd, and serve nobody here: a, b (athctl providers show says why)":                                                           "see what is said below of providers",
		"provider shop: its OAuth server's metadata is not known yet, and it is answered 503":                                                                                      "see what is said of the providers below",
		"3 audit events could not be written":         "make room where audit.file is",
		"callback is shared by several OAuth servers": "change it in /etc/athd/athd.yaml",
	} {
		if got := d.cureOf(warning); !strings.HasPrefix(got, want) {
			t.Errorf("%s\n%s, want %s", warning, got, want)
		} else if strings.HasPrefix(want, "put the files right") && !strings.HasSuffix(got, "Do not restart it before") {
			t.Error("a restart would end athd: ", got)
		}
	}
}
