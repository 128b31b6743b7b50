package athflow

import (
	"net/http"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
)

func (f *Flow) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	d := api.Gateway{
		Version: ath.Version, ID: f.PublicURL, Register: f.PublicURL + ath.RegisterPath,
		Providers: []api.GatewayProvider{},
	}
	if f.origins.separate {
		d.Consent = f.ConsentURL
	}
	for _, p := range f.Providers.Current().All() {
		d.Providers = append(d.Providers, api.GatewayProvider{
			ID: p.Listed(), DisplayName: p.DisplayName, Categories: httpapi.List(p.Categories), Scopes: httpapi.List(p.Scopes),
			AuthMode: "OAUTH2", ApprovalRequired: f.Policy.Default != approval.Approve,
		})
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	httpapi.WriteJSON(w, http.StatusOK, d)
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
	httpapi.WriteJSON(w, http.StatusOK, api.App{
		Version: ath.Version, ID: p.ID, Name: p.App.Name, APIBase: p.App.APIBase,
		Auth: api.AppAuth{
			Type: "oauth2", Authorize: p.AuthorizeURL.String(), Token: p.TokenURL.String(), Scopes: httpapi.List(p.Scopes),
			Register: p.App.Audience + ath.RegisterPath, Attestation: !f.SkipAttestation,
		},
	})
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
