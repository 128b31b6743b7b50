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
		Tokens: i.Tokens, TokensUntil: instant(i.Until), Expires: instant(i.Expires),
	}
	if p != nil {
		v.Provider = p.ID
	}
	v.Refresh = whyNotRefreshed(i)
	v.State, v.LastError = s.stateOf(i, p)
	return v
}

// whyNotRefreshed says why athd cannot get another token for the user when the
// present one has expired.
func whyNotRefreshed(i *tokenstore.ConnectionInfo) string {
	switch {
	case i.Ended:
		return "the provider no longer accepts what it gave"
	case !i.Refreshable:
		return "the provider gave no refresh token"
	}
	return "this athd does not use refresh tokens"
}

// stateOf judges as a call would be judged (P-6, O-2), and says what is wrong.
func (s *API) stateOf(i *tokenstore.ConnectionInfo, p *provider.Provider) (state, wrong string) {
	switch {
	case p == nil:
		return api.ConnectionMoved, "the provider is not configured any more"
	case i.Destination != p.Destination():
		return api.ConnectionMoved, "the provider's token endpoint, client or API host is another one than the user agreed to: authorize again"
	case i.Ended:
		return api.ConnectionRefused, "the provider no longer accepts the user's token: authorize again"
	case !i.Expires.IsZero() && !s.Now().Before(i.Expires):
		return api.ConnectionExpired, "the user's token has expired: authorize again"
	case i.Tokens == 0:
		return api.ConnectionIdle, ""
	}
	return api.ConnectionLive, ""
}
