package athflow

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// showOwn tells an agent what its registration says.
func (f *Flow) showOwn(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.Registration, error) {
	held, err := f.own(ctx, c)
	if err != nil {
		return api.Registration{}, err
	}
	a := &held.Value
	r := api.Registration{
		ClientID: a.ClientID, AgentID: a.ID, Status: string(a.Standing()), Providers: []api.ApprovedProvider{},
		ApprovalExpires: a.ApprovalExpires.UTC().Format(time.RFC3339), RedirectURIs: httpapi.List(a.RedirectURIs),
	}
	for _, p := range a.Approvals {
		r.Providers = append(r.Providers, api.ApprovedProvider{
			ID: f.listed(p.Provider), Approved: httpapi.List(p.Approved), Denied: httpapi.List(p.Denied), DenialReason: p.DenialReason,
		})
	}
	c.Quiet = true
	return r, nil
}

// removeOwn ends an agent's registration at its own wish, with all that hangs
// on it. Its connections go first: an agent that hears of an error can
// ask again.
func (f *Flow) removeOwn(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.RemoveReply, error) {
	ctx = tokenstore.Revoking(ctx) // the attestation's jti is remembered also in a full store
	held, err := f.own(ctx, c)
	if err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.Store.EndConnections(ctx, held.Value.ID, f.Now().UTC()); err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.Registrations.Edit(ctx, held, keepOperatorDecisions); err != nil && !httpapi.IsNotFound(err) {
		return api.RemoveReply{}, err
	}
	f.Registrations.EndConnections(ctx, c, held.Value.ID)
	c.Event.Kind = audit.AgentRemoved
	return api.RemoveReply{Removed: true}, nil
}

// keepOperatorDecisions says what becomes of a registration that its agent gives up. An
// operator's word must not go with it, or removing and registering again would
// undo a suspension: of such an agent the record stays, under a client_id and
// without a secret that anybody knows, and with no approval.
func keepOperatorDecisions(a *tokenstore.Agent) (remove bool, err error) {
	if !a.Suspended && !a.HasOperatorDenial() {
		return true, nil
	}
	a.ClientID, a.SecretDigest = ath.NewClientIDOf(ath.AgentTag(a.ID)).String(), ath.Digest{}
	a.RedirectURIs, a.ApprovalExpires = nil, time.Time{}
	a.Approvals = operatorDenials(a.Approvals)
	return false, nil
}

// operatorDenials is what remains of approvals that have ended: what an operator
// denied.
func operatorDenials(all []tokenstore.Approval) []tokenstore.Approval {
	var out []tokenstore.Approval
	for _, p := range all {
		if len(p.OperatorDenied) > 0 {
			out = append(out, tokenstore.Approval{
				Provider: p.Provider, Denied: p.OperatorDenied, OperatorDenied: p.OperatorDenied, DenialReason: p.DenialReason,
			})
		}
	}
	return out
}

// own finds the registration in the path and wants the proof that its agent
// asks: HTTP Basic with client_id and client_secret, or a fresh
// attestation as Bearer. Without either nothing is looked up; with any that
// does not fit, nobody learns whether there is such a registration (E-3).
func (f *Flow) own(ctx context.Context, c *httpapi.Call) (tokenstore.Held[tokenstore.Agent], error) {
	var none tokenstore.Held[tokenstore.Agent]
	proof, ok := proofOf(c.Header)
	if !ok {
		return none, ath.Errorf(ath.Unauthorized, "The agent's own proof is required: HTTP Basic with client_id and client_secret, or a fresh attestation as Bearer.")
	}
	refused := ath.Errorf(ath.NotFound, "There is no such registration, or the proof is not its agent's own: "+
		"its client_id and client_secret, or an unused attestation for the base URL or this one.")
	held, err := f.Registrations.At(ctx, c)
	if httpapi.IsNotFound(err) {
		return none, refused
	}
	if err != nil {
		return none, err
	}
	if proof.attestation != "" {
		err := f.attested(ctx, c, &held.Value, proof.attestation, f.audiences(ath.AgentsPath+c.Client))
		if e := (*ath.Error)(nil); errors.As(err, &e) && (e.Code == ath.InvalidAttestation || e.Code == ath.AgentIdentityMismatch) {
			return none, refused.WithCause(err)
		}
		return held, err
	}
	if !held.Value.SecretDigest.Matches(proof.secret) || proof.client != c.Client {
		return none, refused
	}
	return held, f.Proved(ath.AgentTag(held.Value.ID))
}

// A proof is an attestation, or client_id and client_secret.
type proof struct{ client, secret, attestation string }

// proofOf reads the one Authorization header of a request (RFC 7617, 6750).
func proofOf(h http.Header) (proof, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return proof{}, false
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	switch {
	case value == "":
	case strings.EqualFold(scheme, "Bearer"):
		return proof{attestation: value}, true
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return proof{}, false
		}
		client, secret, ok := strings.Cut(string(plain), ":")
		return proof{client: client, secret: secret}, ok && client != "" && secret != ""
	}
	return proof{}, false
}
