package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
)

// How much of a list of scopes an event names: an agent chooses how long the
// list is, and each is written while the agent waits.
const (
	maxNamed      = 50
	maxNamedBytes = 4 << 10
)

// Record writes an event of the handshake.
func (s *Server) Record(ctx context.Context, e audit.Event) { s.Audit.Record(ctx, brief(e)) }

// RecordRefusal writes the event of a request that was refused with a code,
// and keeps it for operators who ask what was refused lately.
func (s *Server) RecordRefusal(r *http.Request, e audit.Event, code ath.Code) {
	s.Record(r.Context(), e)
	if code == ath.Forbidden {
		s.OperatorRefused(RefusedRole)
	}
	path := "(none of athd's)" // a stranger may write anything there
	if row, known := ath.FindPath(r.URL.Path); known {
		path = row.Sample()
	}
	s.Audit.Refused(audit.Refusal{
		DecisionID: e.DecisionID, Code: code, Reason: e.Reason, ProviderID: e.ProviderID, AgentID: e.AgentID,
		Method: r.Method, Path: path,
	}, false)
}

// brief bounds what an event names.
func brief(e audit.Event) audit.Event {
	e.Requested, e.Effective, e.Denied = named(e.Requested), named(e.Effective), named(e.Denied)
	return e
}

// named cuts a list for an event: each scope once, and what is left out as a
// number, "+150", which is no scope that anybody asks for.
func named(all ath.Scopes) ath.Scopes {
	all = ath.Scopes(nil).Union(all)
	bytes := 0
	for i, s := range all {
		if bytes += len(s); i == maxNamed || bytes > maxNamedBytes {
			return append(all[:i:i], "+"+strconv.Itoa(len(all)-i))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
