package provider

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// MaxBytes is how long the JSON of one provider may be that is added while athd
// runs.
const MaxBytes = 64 << 10

// A providerDocument is one provider as the operator's API takes it: the fields of
// providers.json, and its id.
type providerDocument struct {
	Schema     string `yaml:"$schema"`
	ID         string `yaml:"provider_id"`
	FileConfig `yaml:",inline"`
}

// ParseOne reads a provider that is added while athd runs: what providers.json has
// below an id, with the same defaults, presets and checks. It returns the provider
// or every fault, each with its JSON Pointer; never both. id is the provider's, "" if
// the document alone names it (provider_id).
//
// What comes over the network must not read this machine, nor reach its network:
// variables are not expanded (whatever opt.Env is), no file is read, and URLs that
// athd asks are of public hosts, unless opt.Egress excepts them. Names are judged
// when they are dialled.
func ParseOne(id string, data []byte, opt Options) (*Provider, strict.Faults) {
	const name = "provider"
	if len(data) > MaxBytes {
		return nil, strict.Faults{{File: name, Message: fmt.Sprintf("is larger than %d bytes", MaxBytes)}}
	}
	opt.Env, opt.ReadFile, opt.AllowHTTP = nil, nil, opt.Egress.AllowsHTTP()
	var d providerDocument
	doc, faults := strict.JSON(name, data, &d)
	if bytes.ContainsAny(data, `$\`) { // else there is no variable to refuse: of ten thousand nearly none has one
		d = providerDocument{}
		faults = append(faults, doc.Expand(nil, &d)...)
	}
	c := &check{Checker: strict.Checker{Doc: doc, Warn: opt.Warn, Bare: true}, opt: opt, presets: builtIn(), atRuntime: true}
	switch {
	case id == "":
		id = d.ID
	case d.ID != "" && d.ID != id:
		c.fail("provider_id", "is another one than the path's: a provider keeps its id")
	}
	p := d.provider(c, id)
	p.Runtime = true
	if faults = append(faults, c.Faults...); len(faults) > 0 {
		return nil, faults.Sort()
	}
	for _, text := range p.RuleAdvice() {
		c.warn("scope_rules", text)
	}
	if known, ok := p.Unnamed(); ok {
		c.warn("preset", "the OAuth server is at a host of "+known.Title+", whose habits preset: "+known.Name+" knows (or preset: none)")
	}
	return p, nil
}

// notFromHere refuses fields that only files have.
func (c *check) notFromHere(s serverFields) {
	if !c.atRuntime {
		return
	}
	if s.ClientSecretFile != "" {
		c.fail("client_secret_file", "is for providers of files: whoever adds one while athd runs sends client_secret, and reads no file of athd's")
	}
	if s.AllowPrivate {
		c.fail("allow_private_issuer", "is for providers of files: what a provider that is added while athd runs may reach is said by egress.allow in athd.yaml")
	}
}

// reached checks a URL that athd or Envoy asks for a provider that is added while
// athd runs. A name is judged when it is dialled, an address at once: whoever
// writes it should hear of it.
func (c *check) reached(name string, u *url.URL) {
	if !c.atRuntime || u == nil {
		return
	}
	host, err := ath.HostOf(u)
	if err != nil {
		c.fail(name, err.Error())
		return
	}
	addrs := literal(host.WithoutPort().String())
	if len(addrs) == 0 {
		return
	}
	judge, port := c.opt.Egress.Judge, uint16(443)
	if u.Scheme == "http" {
		judge, port = c.opt.Egress.JudgeHTTP, 80
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	}
	for _, addr := range addrs {
		if judge(netip.AddrPortFrom(addr, port)) == nil {
			return
		}
	}
	c.fail(name, "is at an address that is not public: what else may be reached is said by egress.allow in athd.yaml")
}

// literal are the addresses that a host name stands for by itself.
func literal(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{addr}
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}
