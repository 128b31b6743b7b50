package athflow

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// retryFull is when it is worth to come back where operators have to make room.
const retryFull = 10 * time.Minute

// reservePending counts a registration that will wait for an operator. Until one
// looks at it, it is what strangers make the store keep.
func (f *Flow) reservePending(ctx context.Context, c *httpapi.Call, agent ath.AgentID) error {
	l := &f.Limits
	err := f.Store.ReservePending(ctx, agent.Tag(), tokenstore.PendingQuota{
		All: l.Pending, Domain: l.PendingPerDomain, Address: l.PendingPerAddress,
		OfDomain: registrable(agent.Host()), OfAddress: counted(c.From),
	})
	full := (*tokenstore.QuotaError)(nil)
	if !errors.As(err, &full) {
		return err
	}
	f.Limited("pending_" + full.Where)
	return ath.Errorf(ath.InternalError, "%s", map[string]string{
		tokenstore.QuotaAll:     "Too many registrations wait for an operator; try again later.",
		tokenstore.QuotaDomain:  "Too many registrations of this domain wait for an operator; try again later.",
		tokenstore.QuotaAddress: "Too many registrations from this address wait for an operator; try again later.",
	}[full.Where]).WithStatus(http.StatusServiceUnavailable).
		WithDetail("reason", "too_many_pending").WithDetail(ath.RetryDetail, int(retryFull.Seconds()))
}

// reserveSession counts a session that an agent is about to open.
func (f *Flow) reserveSession(ctx context.Context, agent, session ath.Tag, until time.Time) error {
	err := f.Store.ReserveSession(ctx, agent, session, until, f.Limits.SessionsPerAgent)
	if full := (*tokenstore.QuotaError)(nil); errors.As(err, &full) {
		f.Limited("sessions_per_agent")
		return httpapi.TooMany("Too many authorizations of this agent are open; finish those or let them expire.", time.Minute)
	}
	return err
}

// releaseSession counts a session no longer that has ended in a token. Those that
// ended otherwise count until they expire: an agent can end any number of them
// by itself, and their records stay as long.
func (f *Flow) releaseSession(ctx context.Context, s *tokenstore.Session) {
	id, err := ath.ParseSessionID(s.ID.Reveal())
	if err == nil {
		err = f.Store.ReleaseSession(ctx, ath.AgentTag(s.AgentID), id.Tag())
	}
	if err != nil {
		f.Logger.DebugContext(ctx, "a session that has ended still counts as open", "error", err)
	}
}

// registrable is the part of a host that somebody registered: example.co.uk of
// a.b.example.co.uk. An address is itself, an IPv6 one its /64.
func registrable(host ath.Host) string {
	if ip, err := netip.ParseAddr(host.Name()); err == nil {
		return httpapi.Network(ip).String()
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host.Name()); err == nil {
		return domain
	}
	return host.Name()
}

// counted is a client as it is counted, "" where nobody told its address.
func counted(a netip.Addr) string {
	if a = httpapi.Network(a); a.IsValid() {
		return a.String()
	}
	return ""
}
