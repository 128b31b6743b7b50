package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

// maxProviders is how many are asked; a gateway may have thousands.
const maxProviders = 50

// A source is where a provider's tokens come from, and where they go.
type source struct {
	id               string
	file             string // what configures it
	issuer           string
	discovered       func(context.Context) (*metadata.Document, error) // asks as athd does, where the issuer names the endpoints; nil: they are written
	authorize, token *url.URL
	userinfo         *url.URL // nil: none
	api              *url.URL // of a provider
	upstream         *url.URL // of an app
}

// sources are those of the file or, without it, of what athd says.
func (d *doctor) sources(ctx context.Context) (all []source, why, cure string) {
	if d.Settings != nil {
		asAthd := provider.NewClient(provider.ClientConfig{AllowHTTP: d.Settings.Development.AllowHTTP, AllowPrivate: d.Settings.Development.AllowPrivateHosts})
		for _, p := range d.Settings.Providers.All() {
			s := source{id: p.ID, file: "providers_file", issuer: p.Issuer, authorize: p.AuthorizeURL, token: p.TokenURL, userinfo: p.UserinfoURL, api: p.APIBase}
			if p.Discovered {
				s.discovered = func(ctx context.Context) (*metadata.Document, error) { return asAthd.Metadata(ctx, p) }
			}
			if p.App != nil {
				s.file, s.api, s.upstream = d.file()+", apps", nil, p.App.Upstream
			}
			all = append(all, s)
		}
		return all, "", ""
	}
	list, why, cure := d.providerList(ctx)
	if why != "" {
		return nil, why, cure
	}
	for _, p := range list.Providers {
		if p.Origin == api.ProviderOfRuntime && p.State != api.ProviderActive {
			continue
		}
		s := source{id: p.ID, file: "providers_file"}
		s.authorize, _ = url.Parse(p.AuthorizeEndpoint)
		s.token, _ = url.Parse(p.TokenEndpoint)
		if p.App == nil {
			s.api, _ = url.Parse(p.APIBase)
		}
		all = append(all, s)
	}
	return all, "", ""
}

func (d *doctor) providers(ctx context.Context, f *findings) {
	all, why, cure := d.sources(ctx)
	if why != "" {
		f.notAsked("all", "providers: issuer, authorize, token and API endpoints, TLS", why, cure)
		return
	}
	if left := len(all) - maxProviders; left > 0 {
		f.notAsked("all", "every provider", fmt.Sprintf("%d of %d are left out: it asks %d at most", left, len(all), maxProviders), "")
		all = all[:maxProviders]
	}
	// Envoy calls the APIs, by CAs of its own.
	var roots *x509.CertPool
	if d.Settings != nil {
		roots = poolOf(d.Settings.Envoy.CAFile)
	}
	apis := newHTTPClient(roots)
	parts := make([]findings, len(all))
	var asking sync.WaitGroup
	for i, s := range all {
		parts[i].subject = f.subject
		asking.Go(func() { d.provider(ctx, s, apis, &parts[i]) })
	}
	asking.Wait()
	for _, p := range parts {
		f.all = append(f.all, p.all...)
	}
}

// provider asks all of one provider, and says in one line where all is well.
func (d *doctor) provider(ctx context.Context, s source, apis *http.Client, f *findings) {
	d.issuer(ctx, &s, f)
	ca := "athd trusts the system's CAs: install the server's CA there, or start athd with SSL_CERT_FILE=/path/to/ca.pem"
	var fine []string
	for _, e := range []struct {
		name, key string
		u         *url.URL
	}{{"authorize", "authorize_endpoint", s.authorize}, {"token", "token_endpoint", s.token}, {"userinfo", "userinfo_endpoint", s.userinfo}} {
		if d.endpoint(ctx, s, e.name, e.key, e.u, d.web.client, ca, f) {
			fine = append(fine, e.name)
		}
	}
	if d.endpoint(ctx, s, "api", "api_base_url", s.api, apis, "in athd.yaml, envoy: {ca_file: FILE}, the CA that signed the API's certificate, and athd bootstrap again", f) {
		fine = append(fine, "API")
	}
	if d.listens(ctx, s, f) {
		fine = append(fine, "upstream")
	}
	if len(fine) > 0 {
		f.ok(s.id, "the endpoints of "+s.id, strings.Join(fine, ", ")+" answer")
	}
}

// byEnvoy is why an API that does not answer here is no fault yet.
const byEnvoy = " (Envoy is who calls it, perhaps from another network and by CAs of its own)"

// endpoint reports whether a server answers at all: what it says to a request
// without credentials is its own affair.
func (d *doctor) endpoint(ctx context.Context, s source, name, key string, u *url.URL, client *http.Client, ca string, f *findings) bool {
	if u == nil || u.Host == "" {
		return false
	}
	id, asked := s.id+"."+name, fmt.Sprintf("whether %s of %s answers at %s", key, s.id, u.Host)
	key += " of " + s.id + " in " + s.file
	a := d.web.head(ctx, u, client)
	if a.err != nil {
		cause, cure := whyNot(a.err, u.Host, key, ca)
		if client != d.web.client {
			f.warn(id, asked, cause+byEnvoy, cure)
			return false
		}
		f.fault(id, asked, cause, cure)
		return false
	}
	d.clocks.add(reading{who: u.Host, now: a.date, asked: a.asked, coarse: true})
	if a.status >= http.StatusInternalServerError && a.status != http.StatusNotImplemented {
		f.warn(id, asked, fmt.Sprintf("%s answers, with HTTP status %d", u.Host, a.status), "look into that server's log; or correct "+key)
		return false
	}
	if cause, is := expires(a.tls, d.Now()); is {
		f.warn(id, asked, u.Host+": "+cause, "renew the certificate of "+u.Host)
	}
	return true
}

// listens reports whether something listens at an app's upstream, which Envoy
// calls.
func (d *doctor) listens(ctx context.Context, s source, f *findings) bool {
	u := s.upstream
	if u == nil || u.Host == "" {
		return false
	}
	at := u.Host
	if u.Port() == "" {
		at = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[u.Scheme == "https"])
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		cause, cure := whyNot(err, at, "upstream of "+s.id+" in "+s.file, "")
		f.warn(s.id+".upstream", "whether something listens at the upstream of "+s.id, cause+byEnvoy, cure)
		return false
	}
	conn.Close()
	return true
}

// issuer compares what an OAuth server says of itself with what is configured.
func (d *doctor) issuer(ctx context.Context, s *source, f *findings) {
	id, asked := s.id+".issuer", "what the issuer of "+s.id+" publishes of itself ("+s.issuer+")"
	if d.Settings == nil {
		return // athd does not say the issuer
	}
	if s.issuer == "" {
		f.notAsked(id, "the metadata of the OAuth server of "+s.id, "no issuer is configured, and the server may have none", "")
		return
	}
	key := "issuer of " + s.id + " in " + s.file
	ask := s.discovered
	if ask == nil {
		ask = func(ctx context.Context) (*metadata.Document, error) {
			return metadata.Fetch(ctx, d.web.client, s.issuer)
		}
	}
	doc, err := ask(ctx)
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		switch e.Reason {
		case metadata.OtherIssuer:
			f.fault(id, asked, e.Error(), fmt.Sprintf("correct %s: %q", key, e.Got))
		case metadata.Refused:
			f.fault(id, asked, e.Error(), "if it is a server of your own network: allow_private_issuer: true beside "+key)
		case metadata.NotFound, metadata.Malformed:
			if s.discovered != nil {
				f.fault(id, asked, e.Error()+": its endpoints are not written, so that it is answered 503", "correct "+key+", or write authorize_endpoint and token_endpoint; curl -i "+e.Place)
				return
			}
			f.warn(id, asked, e.Error()+": where the server sends ID tokens, they cannot be verified, and users' tokens are refused", "correct "+key+", or leave it out if that server has no metadata; curl -i "+e.Place)
		case metadata.Untrusted:
			f.fault(id, asked, e.Error(), "athd trusts the system's CAs: install the server's CA there, or start athd with SSL_CERT_FILE=/path/to/ca.pem")
		default:
			f.fault(id, asked, "the OAuth server is away: "+e.Error(), "start it, or correct "+key+"; curl -i "+e.Place+" shows what this machine sees")
		}
		return
	} else if err != nil {
		f.fault(id, asked, err.Error(), "correct "+key)
		return
	}
	before := len(f.all)
	for _, e := range []struct {
		key, says string
		u         *url.URL
	}{{"authorize_endpoint", doc.AuthorizationEndpoint, s.authorize}, {"token_endpoint", doc.TokenEndpoint, s.token}} {
		if e.u != nil && e.says != "" && e.says != e.u.String() {
			f.warn(id, asked, fmt.Sprintf("it says that its %s is %q, and %q is configured", e.key, e.says, e.u), fmt.Sprintf("%s of %s in %s: %q", e.key, s.id, s.file, e.says))
		}
	}
	if err := doc.Check(); err != nil {
		f.warn(id, asked, strings.ReplaceAll(err.Error(), "\n", "; "), "the server's own configuration is wrong: tell its operator")
	}
	if s.discovered != nil {
		for _, e := range []struct {
			says string
			u    **url.URL
		}{{doc.AuthorizationEndpoint, &s.authorize}, {doc.TokenEndpoint, &s.token}, {doc.UserinfoEndpoint, &s.userinfo}} {
			if *e.u == nil && e.says != "" {
				*e.u, _ = url.Parse(e.says)
			}
		}
	}
	switch {
	case len(f.all) > before:
	case s.discovered != nil:
		f.ok(id, asked, "it names itself and its endpoints (athctl providers check "+s.id+" proves client, redirect URI and scopes)")
	default:
		f.ok(id, asked, "it names itself and the endpoints that are configured")
	}
}
