package athflow

import (
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// nothing is the request of a step that takes no body.
type nothing struct{}

func (*nothing) optional() string { return "nothing" }

// showOwn tells an agent what its registration says.
func (f *Flow) showOwn(ctx context.Context, c *call, _ *nothing) (api.Registration, error) {
	held, err := f.own(ctx, c)
	if err != nil {
		return api.Registration{}, err
	}
	a := &held.Value
	r := api.Registration{
		ClientID: a.ClientID, AgentID: a.ID, Status: string(a.Standing()), Providers: []api.ApprovedProvider{},
		ApprovalExpires: a.ApprovalExpires.UTC().Format(time.RFC3339), RedirectURIs: orEmpty(a.RedirectURIs),
	}
	for _, p := range a.Approvals {
		r.Providers = append(r.Providers, api.ApprovedProvider{
			ID: f.listed(p.Provider), Approved: orEmpty(p.Approved), Denied: orEmpty(p.Denied), DenialReason: p.DenialReason,
		})
	}
	c.quiet = true
	return r, nil
}

// removeOwn ends an agent's registration at its own wish, with all that hangs
// on it. Its connections go first: an agent that hears of an error can
// ask again.
func (f *Flow) removeOwn(ctx context.Context, c *call, _ *nothing) (api.RemoveReply, error) {
	ctx = tokenstore.Revoking(ctx) // the attestation's jti is remembered also in a full store
	held, err := f.own(ctx, c)
	if err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.Store.EndConnections(ctx, held.Value.ID, f.Now().UTC()); err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.edit(ctx, held, leaveHusk); err != nil && !isNotFound(err) {
		return api.RemoveReply{}, err
	}
	f.endConnections(ctx, c, held.Value.ID)
	c.event.Kind = audit.AgentRemoved
	return api.RemoveReply{Removed: true}, nil
}

// leaveHusk says what becomes of a registration that its agent gives up. An
// operator's word must not go with it, or removing and registering again would
// undo a suspension: of such an agent the record stays, under a client_id and
// without a secret that anybody knows, and with no approval.
func leaveHusk(a *tokenstore.Agent) (remove bool, err error) {
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
func (f *Flow) own(ctx context.Context, c *call) (tokenstore.Held[tokenstore.Agent], error) {
	var none tokenstore.Held[tokenstore.Agent]
	proof, ok := proofOf(c.header)
	if !ok {
		return none, ath.Errorf(ath.Unauthorized, "The agent's own proof is required: HTTP Basic with client_id and client_secret, or a fresh attestation as Bearer.")
	}
	refused := ath.Errorf(ath.NotFound, "There is no such registration, or the proof is not its agent's own: "+
		"its client_id and client_secret, or an unused attestation for the base URL or this one.")
	held, err := f.agentAt(ctx, c)
	if isNotFound(err) {
		return none, refused
	}
	if err != nil {
		return none, err
	}
	if proof.attestation != "" {
		err := f.attested(ctx, c, &held.Value, proof.attestation, f.audiences(ath.AgentsPath+c.client))
		if e := (*ath.Error)(nil); errors.As(err, &e) && (e.Code == ath.InvalidAttestation || e.Code == ath.AgentIdentityMismatch) {
			return none, refused.WithCause(err)
		}
		return held, err
	}
	if !held.Value.SecretDigest.Matches(proof.secret) || proof.client != c.client {
		return none, refused
	}
	return held, f.limiter.proved(ath.AgentTag(held.Value.ID), f.Now())
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

// agentAt reads the registration that the path names. That there is none is
// NOT_FOUND.
func (f *Flow) agentAt(ctx context.Context, c *call) (tokenstore.Held[tokenstore.Agent], error) {
	var none tokenstore.Held[tokenstore.Agent]
	unknown := ath.Errorf(ath.NotFound, "There is no such registration.")
	id, err := ath.ParseClientID(c.client)
	if err != nil {
		return none, unknown
	}
	held, err := f.Store.Agent(ctx, id.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return none, unknown
	}
	if err != nil {
		return none, err
	}
	if held.Value.ClientID != c.client {
		return none, unknown
	}
	c.event.AgentID = held.Value.ID
	return held, nil
}

func isNotFound(err error) bool {
	e := (*ath.Error)(nil)
	return errors.As(err, &e) && e.Code == ath.NotFound
}

// edit moves a registration on from what it is by now: whoever writes at the
// same time, each change is made to what the others left, and none is lost.
// change may be called several times. It returns the registration as it was
// written, or, removed, as it was last.
func (f *Flow) edit(ctx context.Context, held tokenstore.Held[tokenstore.Agent], change func(*tokenstore.Agent) (remove bool, err error)) (*tokenstore.Agent, error) {
	clientID := held.Value.ClientID
	for round := 1; ; round++ {
		next := held.Value
		next.Approvals = slices.Clone(next.Approvals)
		remove, err := change(&next)
		if err != nil {
			return nil, err
		}
		if remove {
			err = f.Store.RemoveAgent(ctx, held)
		} else {
			err = f.Store.SwapAgent(ctx, held, next)
		}
		if !errors.Is(err, tokenstore.ErrChanged) {
			if now := &next; err == nil {
				if remove {
					now = nil
				}
				f.giveRoom(ctx, &held.Value, now)
			}
			return &next, err
		}
		if err := pause(ctx, round); err != nil {
			return nil, err
		}
		held, err = f.Store.Agent(ctx, ath.AgentTag(next.ID))
		if errors.Is(err, tokenstore.ErrNotFound) || err == nil && held.Value.ClientID != clientID {
			return nil, ath.Errorf(ath.NotFound, "There is no such registration.")
		}
		if err != nil {
			return nil, err
		}
	}
}

// pause waits a little before another try, up to 2 ms per round and at most
// 40 ms: of many writers one succeeds in each round.
func pause(ctx context.Context, round int) error {
	t := time.NewTimer(time.Duration(rand.Int64N(int64(min(2*round, 40) * int(time.Millisecond)))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endConnections ends what hangs on an agent that is dead already: what cannot
// be ended now is out of reach, and its end comes within the hour.
func (f *Flow) endConnections(ctx context.Context, c *call, agentID string) int {
	n, err := f.Store.EndConnections(ctx, agentID, f.Now().UTC())
	if err != nil {
		f.Logger.WarnContext(ctx, "not every connection of an agent could be ended; they age out within the hour",
			"decision_id", c.id, "agent_id", agentID, "error", err)
	}
	return n
}
