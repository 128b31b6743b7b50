package athflow

import (
	"net/http"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
)

// A discovered is what gateway discovery says of a set of providers. It is made once
// for each: of ten thousand providers it is a megabyte.
type discovered struct {
	of       *provider.Set
	document httpapi.Cacheable
}

// serveDiscovery answers with the providers of now, also where one was added or
// removed by the request before (D-3).
func (f *Flow) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=60")
	now := f.Providers.Current()
	known := f.discovered.Load()
	if known == nil || known.of != now {
		known = &discovered{now, httpapi.NewCacheable(f.gateway(now))}
		f.discovered.Store(known)
	}
	known.document.Write(w, r)
}

func (f *Flow) gateway(set *provider.Set) api.Gateway {
	d := api.Gateway{
		Version: ath.Version, ID: f.PublicURL, Register: f.PublicURL + ath.RegisterPath,
		Providers: make([]api.GatewayProvider, 0, set.Len()),
	}
	if f.ConsentURL != f.PublicURL {
		d.Consent = f.ConsentURL // P-9: links in refusals are checked against it
	}
	d.Renewal, d.Calls = f.advertised(f.Renewal), f.calls()
	set.Each(func(p *provider.Provider) bool {
		d.Providers = append(d.Providers, api.GatewayProvider{
			ID: p.Listed(), DisplayName: p.DisplayName, Categories: httpapi.List(p.Categories), Scopes: httpapi.List(p.Scopes),
			AuthMode: "OAUTH2", ApprovalRequired: f.Policy.Default != approval.Approve,
			Renewal: f.renewalOf(p),
		})
		return true
	})
	return d
}

func (f *Flow) serveAppDiscovery(w http.ResponseWriter, r *http.Request) {
	p := f.appFor(r.Host)
	if p == nil {
		f.WriteError(w, ath.NewDecisionID(), ath.Errorf(ath.NotFound, "No application is published at this host."))
		return
	}
	if !p.Ready() {
		f.WriteError(w, ath.NewDecisionID(), serverUnknown())
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Vary", "Host")
	var consent string
	if f.ConsentURL != p.App.Audience {
		consent = f.ConsentURL
	}
	httpapi.NewCacheable(api.App{
		Consent: consent, Renewal: f.advertised(p.Renewal), Calls: f.calls(),
		Version: ath.Version, ID: p.ID, Name: p.App.Name, APIBase: p.App.APIBase,
		Auth: api.AppAuth{
			Type: "oauth2", Authorize: p.AuthorizeURL.String(), Token: p.TokenURL.String(), Scopes: httpapi.List(p.Scopes),
			Register: p.App.Audience + ath.RegisterPath, Attestation: !f.SkipAttestation,
		},
	}).Write(w, r)
}

// advertised is a standing consent as discovery has it (T-8): none where no page of
// ours tells users of it.
func (f *Flow) advertised(terms ath.RenewalTerms) *api.Renewal {
	if terms.IsZero() || f.Consent != ConsentPage {
		return nil
	}
	return &api.Renewal{Max: int64(terms.Max / time.Second), Idle: int64(terms.Idle / time.Second)}
}

// calls is how often agents may call, as discovery has it.
func (f *Flow) calls() *api.CallLimit {
	if f.CallsPerGrant == ratelimit.Unlimited || f.CallsPerGrant == (ratelimit.Rate{}) {
		return nil
	}
	return &api.CallLimit{Calls: f.CallsPerGrant.N, Seconds: int64(f.CallsPerGrant.Per / time.Second)}
}

// renewalOf is that of a provider, where it is not that of all.
func (f *Flow) renewalOf(p *provider.Provider) *api.Renewal {
	switch own := f.advertised(p.Renewal); {
	case p.Renewal == f.Renewal:
		return nil
	case own == nil && f.advertised(f.Renewal) != nil:
		return &api.Renewal{}
	default:
		return own
	}
}

// appFor finds the app whose host was asked, or the only app.
func (f *Flow) appFor(hostport string) *provider.Provider {
	apps := f.Providers.Current().Apps()
	if host, err := ath.ParseHost(hostport); err == nil {
		for _, p := range apps {
			for _, own := range p.App.Hosts {
				if own.WithoutPort() == host.WithoutPort() {
					return p
				}
			}
		}
	}
	if len(apps) == 1 {
		return apps[0]
	}
	return nil
}
