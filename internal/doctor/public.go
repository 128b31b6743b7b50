package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/probe"
	"github.com/athd/athd/provider"
)

// leadOnce asks where the public URL leads, once for all who want to know.
func (d *doctor) leadOnce() func(context.Context) probe.Lead {
	var once sync.Once
	var lead probe.Lead
	return func(ctx context.Context) probe.Lead {
		once.Do(func() { lead = probe.Gateway(ctx, d.PublicURL) })
		return lead
	}
}

func (d *doctor) public(ctx context.Context, f *findings) {
	const asked = "whether public_url leads to this athd"
	if d.PublicURL == "" {
		f.notAsked("leads", asked, "the public URL is not known", "athctl doctor --server URL, or --config athd.yaml")
		return
	}
	if !d.resolves(ctx, d.PublicURL, "public_url", f) {
		f.notAsked("leads", asked, "its name does not resolve", "")
		return
	}
	lead := d.lead(ctx)
	d.clocks.add(reading{who: "athd at public_url", now: lead.Date, asked: lead.Asked, coarse: true})
	bootstrap := "athd bootstrap --config " + d.file() + " > envoy.yaml"
	switch lead.Kind {
	case "":
		f.ok("leads", asked, d.PublicURL+" leads to athd")
	case probe.NobodyListens:
		f.fault("leads", asked, "nothing listens at "+d.PublicURL+" (public_url): Envoy did not start, or listens elsewhere", bootstrap+", then envoy -c envoy.yaml (the last lines of its log say why it ended); envoy.listen in athd.yaml must be where public_url leads")
		return
	case probe.NoAnswer:
		cause, cure := whyNot(lead.Err, hostOf(d.PublicURL), "public_url in "+d.file(), "")
		f.fault("leads", asked, cause, cure)
		return
	case probe.NotToAthd:
		f.fault("leads", asked, "what answers at "+d.PublicURL+" does not reach athd's listen.http", "start athd (athd serve --config "+d.file()+"); "+bootstrap+" and restart Envoy: its cluster athd_companion must lead to listen.http")
		return
	case probe.AnotherOne:
		f.fault("leads", asked, lead.Missing, bootstrap+" and restart Envoy; or in athd.yaml, public_url: the URL of Envoy's listener")
		return
	case probe.OtherURL:
		f.fault("leads", asked, lead.Missing, fmt.Sprintf("in athd.yaml, public_url: %s, if that is this athd; else let DNS and ports lead here", lead.Gateway.ID))
		return
	}
	d.certificate(lead, f)
	if d.Settings != nil {
		d.sameProviders(ctx, lead.Gateway, f)
	}
}

// certificate looks at whom agents would see, by the system's CAs.
func (d *doctor) certificate(lead probe.Lead, f *findings) {
	const asked = "whether agents can trust the certificate of public_url"
	if lead.TLS == nil || len(lead.TLS.PeerCertificates) == 0 {
		return
	}
	between := x509.NewCertPool()
	for _, c := range lead.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	host := hostOf(d.PublicURL)
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	_, err = lead.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Intermediates: between, CurrentTime: d.Now()})
	if err != nil {
		f.warn("tls", asked, "by this machine's CAs it does not hold: "+err.Error(), "in athd.yaml, envoy: {tls: {cert_file: …, key_file: …}}, a certificate for "+name+" with its chain; or give agents your CA")
		return
	}
	if cause, is := expires(lead.TLS, d.Now()); is {
		f.warn("tls", asked, cause, "renew the certificate of envoy.tls, and let Envoy read it again")
		return
	}
	f.ok("tls", asked, "they can")
}

// sameProviders tells an athd that runs with another configuration.
// Those that were added while it ran are in no file; who may not ask which they are
// takes all others for such.
func (d *doctor) sameProviders(ctx context.Context, g api.Gateway, f *findings) {
	const asked = "whether the athd there lists the providers of this configuration"
	var running, ours []string
	added, why, _ := d.addedAtRuntime(ctx)
	for _, p := range g.Providers {
		known := slices.ContainsFunc(d.Settings.Providers.All(), func(q *provider.Provider) bool { return q.Listed() == p.ID })
		if !known && (why != "" || slices.Contains(added, p.ID)) {
			continue
		}
		running = append(running, p.ID+" "+strings.Join(slices.Sorted(slices.Values(p.Scopes)), ","))
	}
	for _, p := range d.Settings.Providers.All() {
		ours = append(ours, p.Listed()+" "+strings.Join(slices.Sorted(slices.Values(p.Scopes)), ","))
	}
	slices.Sort(running)
	slices.Sort(ours)
	if !slices.Equal(running, ours) {
		f.warn("providers", asked, "it lists others, or other scopes: it runs with another configuration, or has not taken this one", "athd warns above of what it refuses, or of what waits for a restart; else restart it with "+d.file()+", or give athctl doctor the configuration that it runs with")
		return
	}
	f.ok("providers", asked, "it does")
}

// resolves reports whether the name of a URL resolves here.
func (d *doctor) resolves(ctx context.Context, of, key string, f *findings) bool {
	asked := "whether the name in " + key + " resolves"
	u, err := url.Parse(of)
	if err != nil || u.Hostname() == "" {
		f.fault("resolves", asked, key+" is no URL", "correct "+key)
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return true
	}
	found, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil && probe.BelowLocalhost(u.Hostname()) {
		found, err = []string{"this machine, to browsers"}, nil
	}
	if err != nil {
		f.fault("resolves", asked, "the name "+u.Hostname()+" does not resolve here", "give it a DNS record that leads to Envoy (getent hosts "+u.Hostname()+" shows what this machine finds); or correct "+key+" in "+d.file())
		return false
	}
	if len(found) > 4 {
		found = found[:4]
	}
	f.ok("resolves", asked, u.Hostname()+" is "+strings.Join(found, ", "))
	return true
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Host
}
