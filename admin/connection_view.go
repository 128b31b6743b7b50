package admin

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// atProvider says what the end of a connection does at the provider (V-5).
func (s *API) atProvider(i *tokenstore.ConnectionInfo) string {
	p := s.Providers.Current().Lookup(i.Provider)
	if p == nil {
		return "nothing, as long as the provider is not configured"
	}
	switch tokenstore.UpstreamOf(p, i.User != string(i.Tag)) {
	case tokenstore.UpstreamNever:
		return "nothing: revocation is never for this provider, and the grant lives on there until it is revoked there, or expires"
	case tokenstore.UpstreamUnsupported:
		return "nothing: the provider has no revocation endpoint that athd knows, and the grant lives on there until it is revoked there, or expires; set revocation_endpoint if it has one"
	case tokenstore.UpstreamUserUnknown:
		return "nothing: who the user is is not known, so that others of the user's connections could die with it; set userinfo_endpoint, or issuer and the scope openid, or revocation: each"
	}
	if p.Revocation == provider.RevokeEach {
		return "the grant is revoked there, too"
	}
	return "the grant is revoked there, too, once no other connection of the user's with the same OAuth client lives"
}

// becomes says what becomes of the grant of a connection that has ended.
func (s *API) becomes(ctx context.Context, i *tokenstore.ConnectionInfo, end tokenstore.End) (string, error) {
	p := s.Providers.Current().Lookup(i.Provider)
	if end.Upstream != tokenstore.UpstreamQueued || p == nil || p.Revocation == provider.RevokeEach || i.User == "" {
		return string(end.Upstream), nil
	}
	what := api.EndQueued
	err := s.Store.OfUser(ctx, i.User, func(c *tokenstore.ConnectionInfo) bool {
		if !c.Ended && provider.SameClient(c.Destination, i.Destination) {
			what = api.EndWaits
		}
		return what == api.EndQueued
	})
	return what, err
}

// connectionOf shows a connection without its tokens, and whose it is only to
// those who may know.
func (s *API) connectionOf(c *httpapi.Call, i *tokenstore.ConnectionInfo) api.Connection {
	p := s.Providers.Current().Lookup(i.Provider)
	v := api.Connection{
		ID: ath.NewConnectionID(i.Tag).String(), Agent: i.Agent, User: i.User, Provider: i.Provider,
		Scopes: httpapi.List(i.Scopes), Since: instant(i.Created), LastUsed: instant(i.Used),
		Tokens: i.Tokens, TokensUntil: instant(i.Until), Expires: instant(i.Expires), RefreshExpires: instant(i.RefreshStatus.RefreshExpires),
	}
	v.Shared, v.Agents = i.Shared, i.Agents
	if !c.Operator.MaySeeUsers() {
		v.User, v.UserHidden = "", true
	}
	v.Renewals = s.renewalsOf(i, p)
	if p != nil {
		v.Provider = p.ID
	}
	v.Refreshable, v.Refresh = s.refreshOf(i, p)
	v.State, v.LastError = s.stateOf(i, p, v.Refreshable)
	if v.State == api.ConnectionIdle && len(v.Renewals) > 0 {
		v.State = api.ConnectionStanding
	}
	return v
}

// renewalsOf shows what stands by the terms that users were shown and those of
// today, the shorter ones (T-8).
func (s *API) renewalsOf(i *tokenstore.ConnectionInfo, p *provider.Provider) (out []api.ConnectionRenewal) {
	if p == nil {
		return nil
	}
	for _, r := range i.Standing {
		if end, _ := r.Ends(p.Renewal); !s.Now().Before(end) {
			continue
		}
		terms := r.Terms.Within(p.Renewal)
		out = append(out, api.ConnectionRenewal{
			Agent: r.Agent, Scopes: httpapi.List(r.Scopes), Since: instant(r.Issued), LastUsed: instant(r.Used),
			Until: instant(r.Issued.Add(terms.Max)), IdleUntil: instant(r.Used.Add(terms.Idle)),
		})
	}
	return out
}

// refreshOf says whether athd can get another token for the user when the present
// one has expired, and why.
func (s *API) refreshOf(i *tokenstore.ConnectionInfo, p *provider.Provider) (bool, string) {
	r := &i.RefreshStatus
	switch {
	case i.Ended, !r.Refused.IsZero():
		return false, "the provider no longer accepts what it gave"
	case !i.Refreshable:
		return false, "the provider gave no refresh token"
	case p == nil:
		return false, "the provider is not configured any more"
	case p.Refresh.Off:
		return false, "refresh is off for this provider"
	case r.Over(s.Now()):
		return false, "the refresh token has expired at " + instant(r.RefreshExpires)
	case !r.Refreshed.IsZero():
		return true, "it was refreshed last at " + instant(r.Refreshed)
	}
	return true, "there is a refresh token, which was not used yet"
}

// stateOf judges as a call would be judged (P-6, O-2), and says what is wrong.
func (s *API) stateOf(i *tokenstore.ConnectionInfo, p *provider.Provider, refreshable bool) (state, wrong string) {
	over := !i.Expires.IsZero() && !s.Now().Before(i.Expires)
	refused := ""
	if r := &i.RefreshStatus; !r.Refused.IsZero() {
		refused = "the provider refused to refresh the user's token at " + instant(r.Refused) + ": " + r.RefusedFor
		if r.RefusedFor == tokenstore.RejectedByUserinfo {
			refused = "the API and the provider's userinfo endpoint rejected the user's token at " + instant(r.Refused) + ", and there is nothing to refresh it by"
		}
	}
	switch {
	case p == nil:
		return api.ConnectionMoved, "the provider is not configured any more"
	case !p.Agreed(i.Destination, i.Bound):
		return api.ConnectionMoved, "the provider's token, userinfo or revocation endpoint, client or API host is another one than the user agreed to: authorize again"
	case i.Ended && i.RefreshStatus.RefusedFor == tokenstore.OtherUser:
		return api.ConnectionRefused, "a refresh gave a token of another user, which was dropped: authorize again, and ask the provider"
	case i.Ended:
		return api.ConnectionRefused, "the provider no longer accepts the user's token: authorize again"
	case over && refused != "":
		return api.ConnectionRefused, refused
	case over && !refreshable:
		return api.ConnectionExpired, "the user's token has expired: authorize again"
	case i.Tokens == 0:
		return api.ConnectionIdle, refused
	}
	return api.ConnectionLive, refused
}
