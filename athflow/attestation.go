package athflow

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
)

// bases are the URLs under which agents may know us: the public URL and
// each app's audience.
func (f *Flow) bases() []string {
	bases := []string{f.PublicURL}
	for _, p := range f.Providers.Current().Apps() {
		if p.App.Audience != f.PublicURL {
			bases = append(bases, p.App.Audience)
		}
	}
	return bases
}

// audiences lists what an attestation's aud may be for register and authorize
// the base, with or without a slash, or the endpoint's own URL.
func (f *Flow) audiences(endpoint string) []string {
	var out []string
	for _, b := range f.bases() {
		out = append(out, b, b+"/", b+endpoint)
	}
	return out
}

// exactAudiences lists what it may be where only the endpoint's URL counts.
func (f *Flow) exactAudiences(endpoint string) []string {
	var out []string
	for _, b := range f.bases() {
		out = append(out, b+endpoint)
	}
	return out
}

// verify checks an attestation of this agent and maps its refusal to the
// wire. subject is the code for somebody else's attestation, which register
// and the later steps name differently.
func (f *Flow) verify(ctx context.Context, c *httpapi.Call, agent ath.AgentID, compact string, audiences []string, subject ath.Code) (*attest.Identity, error) {
	identity, err := f.Attest.Verify(ctx, compact, attest.Expect{Agent: agent, Audiences: audiences})
	if err == nil {
		return identity, f.Proved(agent.Tag())
	}
	refused := (*attest.Error)(nil)
	if !errors.As(err, &refused) {
		return nil, err // the store's own trouble
	}
	c.Event.Kind, c.Event.Reason = audit.AttestationFailed, string(refused.Reason)
	if refused.Reason == attest.Unreachable { // nothing is known against the attestation
		return nil, ath.Errorf(ath.InternalError, "The host of the agent's identity document cannot be reached now; try again.").
			WithStatus(http.StatusServiceUnavailable).WithCause(err).
			WithDetail("reason", string(refused.Reason)).WithDetail(ath.RetryDetail, int(attest.UnreachableFor/time.Second))
	}
	e := ath.Errorf(ath.InvalidAttestation, "%s", attestationMessage(refused.Reason)).WithCause(err).
		WithDetail("reason", string(refused.Reason))
	switch refused.Reason {
	case attest.Subject:
		e = ath.Errorf(subject, "The attestation speaks for another agent.").WithCause(err)
	case attest.Audience:
		e = e.WithDetail("expected_audience", refused.Expected)
	}
	return nil, e
}

// attestationMessage is a fixed sentence for each reason: what a client's
// developer needs to fix it, and nothing of what their host answered.
func attestationMessage(r attest.Reason) string {
	switch r {
	case attest.Malformed:
		return "The attestation is not a JWT with the claims that are required."
	case attest.Algorithm:
		return "The attestation must be signed with ES256."
	case attest.Expired:
		return "The attestation has expired."
	case attest.Times:
		return "The attestation's iat or exp is out of bounds; check the clock."
	case attest.Audience:
		return "The attestation is for another audience; see details.expected_audience."
	case attest.Issuer:
		return "The attestation's iss is neither the agent_id nor its origin."
	case attest.Document:
		return "There is no identity document at the agent_id, or it is not acceptable."
	case attest.Signature:
		return "The attestation is not signed with the key that the agent publishes."
	case attest.Replay:
		return "The attestation was used before; each needs a jti of its own."
	}
	return "The attestation is not valid."
}
