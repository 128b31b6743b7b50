package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// runtimeProviders shows the providers that were added while athd ran.
func (s *API) runtimeProviders() []api.Provider {
	if s.Catalog == nil {
		return nil
	}
	var all []api.Provider
	for _, e := range s.Catalog.All() {
		all = append(all, s.entryView(e))
	}
	return all
}

// entryView shows one, with what its issuer says where that is known.
func (s *API) entryView(e catalog.Entry) api.Provider {
	v := api.Provider{ID: e.ID, Categories: []string{}, Scopes: []string{}, Rules: []api.ProviderRule{}}
	if e.Provider != nil {
		shown := e.Provider
		if current := s.Providers.Current().Get(e.ID); current != nil && current.Runtime {
			shown = current
		}
		v = s.viewOfProvider(shown)
	}
	v.Origin, v.State, v.Generation = api.ProviderOfRuntime, api.ProviderActive, e.Generation
	v.Created, v.CreatedBy, v.Changed, v.ChangedBy = instant(e.Created), e.CreatedBy, instant(e.Changed), e.ChangedBy
	v.Ending = e.Ending
	switch {
	case e.State == tokenstore.ProviderDraining:
		v.State = api.ProviderDraining
		v.Left = &e.Left
	case e.Err != nil:
		v.State, v.Problem = api.ProviderFaulty, provider.Said(e.Err.Error())
	case e.Shadowed:
		v.State = api.ProviderShadowed
	}
	return v
}

// viewOfProvider shows a provider or app that serves.
func (s *API) viewOfProvider(p *provider.Provider) api.Provider {
	v := providerOf(p)
	v.Origin, v.State, v.HasSecret = api.ProviderOfFile, api.ProviderActive, !p.ClientSecret.IsZero()
	if s.Issuers != nil {
		v.Metadata = metadataOf(s.Issuers.Of(p.ID))
	}
	return v
}

// providersByID lists every provider and app: those of files, and those of run time,
// also where they do not serve.
func (s *API) providersByID() []api.Provider {
	all := s.runtimeProviders()
	for _, p := range s.Providers.Current().All() {
		if !p.Runtime {
			all = append(all, s.viewOfProvider(p))
		}
	}
	slices.SortStableFunc(all, func(a, b api.Provider) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// showProvider shows one.
func (s *API) showProvider(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (providerReply, error) {
	if err := noParameters(c); err != nil {
		return providerReply{}, err
	}
	c.Quiet = true
	if p := s.Providers.Current().Get(c.Provider); p != nil && !p.Runtime {
		return providerReply{api.ProviderReply{Provider: s.viewOfProvider(p)}}, nil
	}
	if s.Catalog != nil {
		if e, ok := s.Catalog.Get(c.Provider); ok {
			return providerReply{api.ProviderReply{Provider: s.entryView(e)}}, nil
		}
		if !s.Catalog.Loaded() {
			return providerReply{}, tokenstore.ErrUnavailable
		}
	}
	return providerReply{}, s.refusedChange(c.Provider, catalog.ErrNotFound)
}

func (s *API) replyOf(e catalog.Entry, warnings []api.ProviderFault, message string) providerReply {
	return providerReply{api.ProviderReply{Provider: s.entryView(e), Message: message, Warnings: warnings}}
}

// dryReply is the answer to a change that was only tried.
func dryReply(p *provider.Provider, warnings []api.ProviderFault, message string) providerReply {
	v := providerOf(p)
	v.Origin, v.State, v.HasSecret = api.ProviderOfRuntime, api.ProviderActive, !p.ClientSecret.IsZero()
	return providerReply{api.ProviderReply{Provider: v, Message: message + " Nothing was changed.", Warnings: warnings, DryRun: true}}
}
