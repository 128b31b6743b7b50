package athflow

import (
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// The reply of gateway discovery (D-1).
type discovery struct {
	Version   string              `json:"ath_version"`
	GatewayID string              `json:"gateway_id"`
	Register  string              `json:"agent_registration_endpoint"`
	Providers []discoveryProvider `json:"supported_providers"`
	// Ours: where the consent pages are, if that is another origin than
	// gateway_id.
	Consent string `json:"consent_origin,omitempty"`
}

type discoveryProvider struct {
	ID               string   `json:"provider_id"`
	DisplayName      string   `json:"display_name"`
	Categories       []string `json:"categories"`
	Scopes           []string `json:"available_scopes"`
	AuthMode         string   `json:"auth_mode"`
	ApprovalRequired bool     `json:"agent_approval_required"`
}

func (f *Flow) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	d := discovery{
		Version: ath.Version, GatewayID: f.PublicURL, Register: f.PublicURL + "/ath/agents/register",
		Providers: []discoveryProvider{},
	}
	if f.origins.separate {
		d.Consent = f.ConsentURL
	}
	for _, p := range f.Providers.All() {
		d.Providers = append(d.Providers, discoveryProvider{
			ID: p.Listed(), DisplayName: p.DisplayName, Categories: orEmpty(p.Categories), Scopes: orEmpty(p.Scopes),
			AuthMode: "OAUTH2", ApprovalRequired: f.Policy.Default != Approve,
		})
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	writeJSON(w, http.StatusOK, d)
}

// The reply of native discovery (D-2).
type appDiscovery struct {
	Version string  `json:"ath_version"`
	AppID   string  `json:"app_id"`
	Name    string  `json:"name"`
	Auth    appAuth `json:"auth"`
	APIBase string  `json:"api_base"`
}

type appAuth struct {
	Type        string   `json:"type"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Scopes      []string `json:"scopes_supported"`
	Register    string   `json:"registration_endpoint"`
	Attestation bool     `json:"agent_attestation_required"`
}

func (f *Flow) serveAppDiscovery(w http.ResponseWriter, r *http.Request) {
	p := f.appFor(r.Host)
	if p == nil {
		f.writeError(w, r, ath.NewDecisionID(), ath.Errorf(ath.NotFound, "No application is published at this host."))
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Vary", "Host")
	writeJSON(w, http.StatusOK, appDiscovery{
		Version: ath.Version, AppID: p.ID, Name: p.App.Name, APIBase: p.App.APIBase,
		Auth: appAuth{
			Type: "oauth2", Authorize: p.AuthorizeURL.String(), Token: p.TokenURL.String(), Scopes: orEmpty(p.Scopes),
			Register: p.App.Audience + "/ath/agents/register", Attestation: !f.SkipAttestation,
		},
	})
}

// appFor finds the app whose host was asked, or the only app.
func (f *Flow) appFor(hostport string) *provider.Provider {
	apps := f.Providers.Apps()
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

// orEmpty keeps an absent list from showing as null.
func orEmpty[S ~[]string](s S) []string {
	if s == nil {
		return []string{}
	}
	return s
}
