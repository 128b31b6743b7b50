package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/athd/athd/ath"
)

// A HostSuspension is an operator's decision that no agent of some hosts may do
// anything: neither those that are registered nor those that come later.
type HostSuspension struct {
	Hosts ath.HostPattern `json:"hosts"`
	By    string          `json:"by,omitzero"` // the operator's name
	Since time.Time       `json:"at,omitzero"`

	x extra // of this one, as it was read
}

// MaxHostSuspensions bounds the one record that holds them.
const MaxHostSuspensions = 1000

// hostsTag is that of the one record, which every registration, authorization
// and token exchange reads.
const hostsTag ath.Tag = "suspended-hosts-"

func hostsKey() (string, error) { return key(hostsTag, string(hostsKind)) }

// HostSuspensions returns what operators have suspended by host, in the order in
// which they did. None are no error.
func (s *Store) HostSuspensions(ctx context.Context) (Held[[]HostSuspension], error) {
	key, err := hostsKey()
	if err != nil {
		return Held[[]HostSuspension]{}, err
	}
	held, err := get(ctx, s, "suspended_hosts", key, s.openHosts)
	if errors.Is(err, ErrNotFound) {
		return Held[[]HostSuspension]{key: key}, nil
	}
	return held, err
}

// SwapHostSuspensions replaces them as they were read. ErrChanged: somebody else
// did so first. It waits for replicas as [Config].WaitReplicas says. What lifts
// none succeeds also when the server is full.
func (s *Store) SwapHostSuspensions(ctx context.Context, old Held[[]HostSuspension], next []HostSuspension) error {
	if old.key == "" {
		return errNotHeld
	}
	if len(next) > MaxHostSuspensions {
		return errors.New("store: too many hosts are suspended")
	}
	list := make([]stored[HostSuspension], len(next))
	for i, h := range next {
		h.Since = h.Since.UTC()
		list[i] = stored[HostSuspension]{h, h.x}
	}
	plain, err := encode(list)
	if err != nil {
		return err
	}
	sealed, err := s.keys.seal(hostsKind, old.key, plain)
	if err != nil {
		return err
	}
	script := s.scripts.swapHosts
	if keepsAll(old.Value, next) {
		script = s.scripts.swapHostsRevoking
	}
	return s.do(ctx, "swap_suspended_hosts", func(ctx context.Context) error {
		return s.confirmed(ctx, script, ErrChanged, []string{old.key}, old.raw, sealed)
	})
}

func (s *Store) openHosts(key, raw string) ([]HostSuspension, extra, error) {
	plain, err := s.open(hostsKind, key, raw)
	if err != nil {
		return nil, nil, err
	}
	in, err := decode[[]stored[HostSuspension]](hostsKind, plain)
	if err != nil {
		return nil, nil, err
	}
	out := make([]HostSuspension, len(in))
	for i, h := range in {
		if !isExtra(h.X) {
			return nil, nil, fmt.Errorf("%w: x of a suspended host is not an object", ErrCorrupt)
		}
		out[i] = h.Value
		out[i].x = h.X
	}
	return out, nil, nil
}

// swapHosts is swap for a record that may not be there yet and does not age.
// KEYS record; ARGV old bytes or "" for none, next bytes.
const swapHosts = `
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`

// keepsAll reports whether no suspension is lifted.
func keepsAll(old, next []HostSuspension) bool {
	for _, h := range old {
		if !slices.ContainsFunc(next, func(n HostSuspension) bool { return n.Hosts == h.Hosts }) {
			return false
		}
	}
	return true
}
