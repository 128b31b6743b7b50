package provider

import (
	"cmp"
	"errors"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/ath"
)

const (
	day = 24 * time.Hour

	// MaxRenewal is the longest that a consent stands.
	MaxRenewal = 365 * day
	// defaultIdle ends what an agent has forgotten.
	defaultIdle = 30 * day

	renewalOff = "off"
)

// A RenewalConfig is tokens.renewal of athd.yaml, and the field renewal of a
// provider or app: {max, idle}, or off.
type RenewalConfig struct {
	Max  string `yaml:"max"`
	Idle string `yaml:"idle"`

	object bool   // {…}, even an empty one
	word   string // in place of it
}

// UnmarshalYAML takes both.
func (c *RenewalConfig) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if c.word = n.Value; n.Tag == "!!bool" && n.Value == "false" {
			c.word = renewalOff
		}
		return nil
	}
	c.object = n.Kind == yaml.MappingNode
	type fields RenewalConfig
	return n.Load((*fields)(c), yaml.WithKnownFields())
}

// Terms returns what the configuration says, given what is said for all (the zero
// value: nothing) and how long tokens live. fail is told what is wrong, with the
// name of the member that it is about.
func (c RenewalConfig) Terms(all ath.RenewalTerms, tokenTTL time.Duration, fail func(message string, member ...any)) ath.RenewalTerms {
	switch {
	case c.word == renewalOff:
		return ath.RenewalTerms{}
	case c.word != "":
		fail("want off, or {max: 90d, idle: 30d}")
		return ath.RenewalTerms{}
	case !c.object:
		return all
	}
	longest, err := lasting(c.Max, all.Max, tokenTTL)
	if err != nil {
		fail(err.Error(), "max")
	}
	idle, idleErr := lasting(c.Idle, min(cmp.Or(all.Idle, defaultIdle), cmp.Or(longest, MaxRenewal)), tokenTTL)
	switch {
	case idleErr != nil:
		fail(idleErr.Error(), "idle")
	case err == nil && idle > longest:
		fail("want at most max", "idle")
	case err == nil:
		return ath.RenewalTerms{Max: longest, Idle: idle}
	}
	return ath.RenewalTerms{}
}

func lasting(text string, unsaid, tokenTTL time.Duration) (time.Duration, error) {
	d, err := unsaid, error(nil)
	if text != "" {
		d, err = ath.ParseDuration(text)
	}
	switch {
	case err != nil:
		return 0, err
	case d == 0:
		return 0, errors.New("is missing")
	case d > MaxRenewal:
		return 0, errors.New("want at most 365d")
	case d <= tokenTTL:
		return 0, errors.New("want more than tokens.ttl: an agent renews when its token has ended")
	}
	return d, nil
}

// renewal reads the field renewal, when refresh has been read.
func (c *check) renewal(p *Provider, of RenewalConfig) {
	p.Renewal = of.Terms(c.opt.Renewal, c.opt.TokenTTL, func(message string, member ...any) { c.fail("renewal", message, member...) })
}
