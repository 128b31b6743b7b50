package admin

import (
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// atProvider says what the end of a connection does not do.
const atProvider = "nothing: athd deletes its tokens, and the grant lives on at the provider until the user or its administrator revokes it there, or it expires"

// connectionOf shows a connection without its tokens.
func (s *API) connectionOf(i *tokenstore.ConnectionInfo) api.Connection {
	p := s.Providers.Current().Lookup(i.Provider)
	v := api.Connection{
		ID: ath.NewConnectionID(i.Tag).String(), Agent: i.Agent, User: i.User, Provider: i.Provider,
		Scopes: httpapi.List(i.Scopes), Since: instant(i.Created), LastUsed: instant(i.Used),
		Tokens: i.Tokens, TokensUntil: instant(i.Until), Expires: instant(i.Expires), RefreshExpires: instant(i.Renewal.RefreshExpires),
	}
	v.Shared, v.Agents = i.Shared, i.Agents
	if p != nil {
		v.Provider = p.ID
	}
	v.Refreshable, v.Refresh = s.refreshOf(i, p)
	v.State, v.LastError = s.stateOf(i, p, v.Refreshable)
	return v
}

// refreshOf says whether athd can get another token for the user when the present
// one has expired, and why.
func (s *API) refreshOf(i *tokenstore.ConnectionInfo, p *provider.Provider) (bool, string) {
	r := &i.Renewal
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
	if r := &i.Renewal; !r.Refused.IsZero() {
		refused = "the provider refused to refresh the user's token at " + instant(r.Refused) + ": " + r.RefusedFor
	}
	switch {
	case p == nil:
		return api.ConnectionMoved, "the provider is not configured any more"
	case i.Destination != p.Destination():
		return api.ConnectionMoved, "the provider's token endpoint, client or API host is another one than the user agreed to: authorize again"
	case i.Ended && i.Renewal.RefusedFor == tokenstore.OtherUser:
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
