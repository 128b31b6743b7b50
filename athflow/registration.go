package athflow

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// checkRegister checks the shape of the request, before anything is fetched.
func (f *Flow) checkRegister(req *api.RegisterRequest) (ath.AgentID, error) {
	agent, err := ath.ParseAgentID(req.AgentID, f.AllowHTTP)
	if err != nil {
		return ath.AgentID{}, httpapi.InvalidField("agent_id", "The agent_id is not acceptable: %v.", err)
	}
	if _, ok := writingOf(agent.Host()); !ok {
		return ath.AgentID{}, httpapi.InvalidField("agent_id", "The agent_id is not acceptable: its host holds a label that is no A-label of IDNA.")
	}
	if req.Attestation.IsZero() {
		return agent, ath.Errorf(ath.InvalidAttestation, "agent_attestation is missing.").WithStatus(400)
	}
	for field, s := range map[string]string{
		"developer.name": req.Developer.Name, "developer.id": req.Developer.ID,
		"developer.contact": req.Developer.Contact, "purpose": req.Purpose,
	} {
		if len(s) > api.MaxTextBytes {
			return agent, httpapi.InvalidField(field, "The field is longer than %d bytes.", api.MaxTextBytes)
		}
	}
	if req.Developer.Name == "" || req.Developer.ID == "" {
		return agent, httpapi.InvalidField("developer", "developer.name and developer.id are required.")
	}
	if len(req.Providers) == 0 || len(req.Providers) > api.MaxProviders {
		return agent, httpapi.InvalidField("requested_providers", "Between 1 and %d providers must be asked for.", api.MaxProviders)
	}
	scopes := 0
	for i := range req.Providers {
		p := &req.Providers[i]
		if p.ID == "" || len(p.ID) > api.MaxTextBytes {
			return agent, httpapi.InvalidField("requested_providers.provider_id", "A provider_id is missing or too long.")
		}
		if scopes += len(p.Scopes); len(p.Scopes) == 0 || scopes > ath.MaxScopes {
			return agent, httpapi.InvalidField("requested_providers.scopes", "Between 1 and %d scopes must be asked for, of all providers together.", ath.MaxScopes)
		}
		for _, s := range p.Scopes {
			if s == "" || len(s) > ath.MaxScopeBytes {
				return agent, httpapi.InvalidField("requested_providers.scopes", "A scope is empty or too long.")
			}
		}
		p.Scopes = ath.Scopes(nil).Union(p.Scopes) // each once
	}
	if len(req.RedirectURIs) > maxRedirectURIs {
		return agent, httpapi.InvalidField("redirect_uris", "An agent may register at most %d redirect_uris.", maxRedirectURIs)
	}
	for _, u := range req.RedirectURIs {
		if err := checkRedirectURI(u); err != nil {
			return agent, httpapi.InvalidField("redirect_uris", "A redirect_uri is not acceptable: %v.", err)
		}
	}
	return agent, nil
}

// fits bounds what a registration occupies.
func fits(a *tokenstore.Agent) error {
	of, limit := *a, maxPendingBytes
	if a.Standing() == tokenstore.Approved {
		of.Approvals, limit = nil, maxApprovedBytes
	}
	bytes, err := tokenstore.AgentBytes(of)
	if err != nil || bytes <= limit {
		return err
	}
	field := "requested_providers"
	of.Approvals = nil
	if own, err := tokenstore.AgentBytes(of); err != nil || own > limit/2 {
		field = "redirect_uris" // the only long words of its own
	}
	return httpapi.InvalidField(field, "The registration is too large to be kept: of %d bytes at most %d. Ask for less at once, or use shorter redirect_uris.", bytes, limit)
}

// checkRedirectURI applies R-4. With the exact comparison of Z-1 it prevents an
// open redirect.
func checkRedirectURI(s string) error {
	if s == "" || len(s) > maxRedirectURIBytes {
		return errors.New("it is empty or too long")
	}
	if !ath.ValidURLBytes(s) {
		return errors.New("it contains a character that is not allowed in a URL")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("it is not an absolute URL")
	case strings.Contains(s, "#"):
		return errors.New("it has a fragment")
	case u.User != nil:
		return errors.New("it contains user information")
	case !validPort(u):
		return errors.New("its port is not one from 1 to 65535, written plainly")
	case u.Scheme == "https" && u.Hostname() != "":
		return nil
	case u.Scheme == "http" && ath.IsLoopbackHost(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("http is for loopback hosts only")
	case strings.Contains(u.Scheme, ".") && u.Scheme != "":
		return nil // a private-use scheme (RFC 8252, section 7.1)
	}
	return errors.New("its scheme must be https, http on a loopback host, or a private-use scheme with a dot")
}

// validPort wants a port that can be connected to, in its one spelling, or none
// and no colon for it.
func validPort(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '0'
}
