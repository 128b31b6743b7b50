package admin

import (
	"context"
	"errors"
	"net/url"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
)

// acceptWord stands where ids do.
const acceptWord = "accept"

// listProviders shows every provider and app, ordered by id.
func (s *API) listProviders(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ProviderList, error) {
	if err := noParameters(c); err != nil {
		return api.ProviderList{}, err
	}
	l := api.ProviderList{Providers: s.providersByID(), Destination: s.Destination, Callback: api.CallbackShared}
	if s.Catalog != nil {
		l.RuntimeUnknown = !s.Catalog.Loaded()
	}
	if s.RuntimeRoute {
		l.Runtime = runtimeRoute(s.ProviderOptions.Egress)
	}
	if s.CallbackPerProvider {
		l.Callback = api.CallbackPerProvider
	}
	if !s.ConsentHost.IsZero() {
		l.ConsentHost = s.ConsentHost.String()
	}
	l.Envoy = s.Envoy
	c.Quiet = true
	return l, nil
}

// runtimeRoute is what Envoy needs for providers that are added while athd runs.
func runtimeRoute(p egress.Policy) *api.RuntimeRoute {
	r := &api.RuntimeRoute{AllowPrivate: p.AllowPrivate, AllowHTTP: p.AllowHTTP, Allow: []api.EgressException{}, Own: []api.EgressListener{}}
	for _, e := range p.Allow {
		r.Allow = append(r.Allow, api.EgressException{Addresses: e.Addresses.String(), Port: e.Port, HTTP: e.HTTP})
	}
	for _, l := range p.Own {
		own := api.EgressListener{Port: l.Port, Public: l.Public}
		if l.Addr.IsValid() {
			own.Address = l.Addr.String()
		}
		r.Own = append(r.Own, own)
	}
	return r
}

func providerOf(p *provider.Provider) api.Provider {
	v := api.Provider{
		ID: p.ID, Aliases: p.Aliases, DisplayName: p.DisplayName, Categories: httpapi.List(p.Categories), Scopes: httpapi.List(p.Scopes),
		AuthorizeEndpoint: text(p.AuthorizeURL), TokenEndpoint: text(p.TokenURL), APIBase: p.APIBase.String(),
		UserinfoEndpoint: text(p.UserinfoURL), RevocationURL: text(p.RevocationURL), Issuer: p.Issuer, AuthMethod: string(p.AuthMethod),
		ExtraScopes: p.ExtraScopes, Resource: p.Resource,
		ClientID: p.ClientID, Preset: p.Preset, Derived: p.Derived, EncodedSlash: p.EncodedSlash, RewriteLinks: p.RewriteLinks, RetryOn401: p.RetryOn401,
		Encoded: p.Encoded.Delimiters(), Rules: []api.ProviderRule{},
	}
	for _, r := range p.Rules {
		v.Rules = append(v.Rules, api.ProviderRule{Scope: r.Scope, Methods: r.Methods, Paths: r.Paths, Upgrade: r.Upgrade, Origin: r.Origin})
	}
	if a := p.App; a != nil {
		v.App = &api.ProviderApp{
			Name: a.Name, Hosts: append([]ath.Host{}, a.Hosts...), PathPrefix: a.PathPrefix, Upstream: a.Upstream.String(),
			Audience: a.Audience, Unauthenticated: "deny",
		}
		if a.Passthrough {
			v.App.Unauthenticated = "passthrough"
		}
	}
	return v
}

// text is "" for an endpoint that is not known.
func text(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}

func metadataOf(s issuer.Status, ok bool) *api.Metadata {
	if !ok {
		return nil
	}
	m := &api.Metadata{Known: s.Known, Moves: movesOf(s.Moves), Digest: s.Digest}
	if !s.Asked.IsZero() {
		m.Asked = instant(s.Asked)
	}
	if s.Failed != nil {
		m.Error = provider.Said(s.Failed.Error())
	}
	if len(s.Moves) > 0 {
		m.MovedSince = instant(s.MovedSince)
	}
	return m
}

func movesOf(moves []issuer.Move) []api.EndpointMove {
	var all []api.EndpointMove
	for _, m := range moves {
		all = append(all, api.EndpointMove{Endpoint: m.Endpoint, From: m.From, To: m.To})
	}
	return all
}

// acceptEndpoints follows metadata that moves endpoints to other hosts.
func (s *API) acceptEndpoints(ctx context.Context, c *httpapi.Call, req *api.AcceptRequest) (api.AcceptReply, error) {
	p := s.Providers.Current().Get(req.ProviderID)
	if p == nil {
		return api.AcceptReply{}, ath.Errorf(ath.NotFound, "There is no such provider. All are listed at %s.", ath.AdminProvidersPath)
	}
	c.Event.Kind, c.Event.ProviderID = audit.EndpointsAccepted, p.ID
	var moved []issuer.Move
	err := issuer.ErrNotHeld
	if s.Issuers != nil {
		err = s.Issuers.Accept(ctx, p.ID, req.Digest, func(moves []issuer.Move) error {
			moved = moves
			c.Event.Upstream = provider.Said(issuer.Describe(moves))
			movesOfEvent(&c.Event, moves)
			return s.Commit(c)
		})
	}
	switch {
	case errors.Is(err, issuer.ErrNotHeld):
		err = ath.Errorf(ath.NotFound, "The issuer of this provider moves no endpoint to another host.")
	case errors.Is(err, issuer.ErrOther):
		err = ath.Errorf(ath.Conflict, "The issuer says something else by now: look again at what it moves.")
	}
	if err != nil {
		c.Event.Kind = ""
		return api.AcceptReply{}, err
	}
	of, _ := s.Issuers.Of(p.ID)
	return api.AcceptReply{Providers: of.Providers, Moves: movesOf(moved)}, nil
}
