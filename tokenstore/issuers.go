package tokenstore

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
)

// An Issuer is what is remembered of an OAuth server's metadata: what athd goes
// by, and what the server says since, if an operator must agree to it first.
type Issuer struct {
	Issuer string `json:"iss"`
	// Accepted is the metadata that athd goes by, as JSON; First is the token
	// endpoint that was known first.
	Accepted string `json:"doc"`
	First    string `json:"first"`
	// Moved is later metadata that moves endpoints to other hosts, as JSON: it is
	// not followed. "": there is none.
	Moved      string    `json:"moved,omitzero"`
	MovedSince time.Time `json:"moved_at,omitzero"`
	// Asked is when the server last answered.
	Asked time.Time `json:"asked,omitzero"`
}

// issuerLinger is how long an issuer's metadata is remembered after the server
// answered last.
const issuerLinger = 180 * 24 * time.Hour

// IssuerTag is that of an issuer's record, and of [IssuerChanged].
func IssuerTag(issuer string) ath.Tag { return ath.AgentTag("issuer\x00" + issuer) }

func issuerKey(issuer string) (string, error) { return key(IssuerTag(issuer), string(issuerKind)) }

// Issuer returns what is remembered. If nothing is, that is no error: the value
// is zero.
func (s *Store) Issuer(ctx context.Context, issuer string) (Held[Issuer], error) {
	key, err := issuerKey(issuer)
	if err != nil {
		return Held[Issuer]{}, err
	}
	held, err := get(ctx, s, "issuer", key, func(key, raw string) (Issuer, extra, error) {
		plain, err := s.open(issuerKind, key, raw, issuer)
		if err != nil {
			return Issuer{}, nil, err
		}
		return decodeOne[Issuer](issuerKind, plain)
	})
	if errors.Is(err, ErrNotFound) {
		return Held[Issuer]{key: key}, nil
	}
	return held, err
}

// SwapIssuer replaces it as it was read. ErrChanged: somebody else did so first.
// Other athd hear of it by [IssuerChanged], unless only Asked has changed.
func (s *Store) SwapIssuer(ctx context.Context, old Held[Issuer], next Issuer) error {
	if want, err := issuerKey(next.Issuer); err != nil || old.key != want {
		return errNotHeld
	}
	next.MovedSince, next.Asked = next.MovedSince.UTC(), next.Asked.UTC()
	plain, err := encode(stored[Issuer]{next, old.x})
	if err != nil {
		return err
	}
	sealed, err := s.keys.seal(issuerKind, old.key, plain, next.Issuer)
	if err != nil {
		return err
	}
	keys, args := []string{old.key}, []any{old.raw, sealed, s.ttl(s.now().Add(issuerLinger))}
	before := old.Value
	before.Asked = next.Asked
	if before.MovedSince = before.MovedSince.UTC(); before != next {
		keys, args = s.feed.announcing(keys, args, announce(IssuerChanged, IssuerTag(next.Issuer), ""))
	}
	return s.do(ctx, "swap_issuer", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.swapIssuer, ErrChanged, keys, args...)
	})
}

// swapIssuer is swap for a record that may not be there yet. KEYS record, log;
// ARGV old bytes or "" for none, next bytes, ttl in ms, what announces that an
// issuer has changed.
const swapIssuer = announceLua + `
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return announce(2, 4, 1)`
