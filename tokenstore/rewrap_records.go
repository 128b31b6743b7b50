package tokenstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// rewrapScripts work on a full server too: a record is as long as it was.
type rewrapScripts struct{ rewrap, dropAttempt, copyIndex, passOn script }

func newRewrapScripts() rewrapScripts {
	return rewrapScripts{
		// KEYS record, and the lease that must not be held, if any; ARGV old bytes, the
		// same sealed again. 2: somebody is at it.
		rewrap: whenFull(`
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 2 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1`),

		// KEYS attempt, connection; ARGV old bytes. Without a connection nobody reads
		// it, but, of a shared one, who consents anew.
		dropAttempt: whenFull(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
return 1`),

		// KEYS index; ARGV its least ttl in ms, then when each entry is over, in Unix ms,
		// and the entry
		copyIndex: whenFull(`
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'GT', ARGV[i], ARGV[i + 1]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`),

		// KEYS record; ARGV old bytes, ttl in ms. What ends already does so.
		passOn: whenFull(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`),
	}
}

// A resealing is a record that is to be written again.
type resealing struct {
	at   *storedKey
	next string
	keys []string // what the script needs
}

// reseal opens what another key than the primary has sealed.
func (r *rewrapping) reseal(ctx context.Context, some []storedKey) ([]resealing, error) {
	var out []resealing
	primary := r.keys.Primary()
	for i := range some {
		at := &some[i]
		ids, named := r.ids.sealers(at.raw)
		switch {
		case at.raw == "" || at.form.kind == userEndedKind:
			continue
		case named && ids[0] == primary:
			if at.form.sealed != notSealed {
				r.hold(at.key, at.raw)
			}
			continue
		case at.form.sealed == notSealed:
			if named && r.has(ids[0]) {
				r.unopened(at, whyKind)
			}
			continue
		}
		plain, why, err := r.open(ctx, at)
		if err != nil {
			return nil, err
		}
		if why != "" {
			r.unopened(at, why)
			continue
		}
		if plain == nil || r.busy(at, plain) {
			continue
		}
		next, err := r.keys.seal(at.form.kind, at.key, plain.bytes, plain.binding...)
		if err != nil {
			return nil, err
		}
		job := resealing{at: at, next: next, keys: []string{at.key}}
		if at.form.kind == attemptKind {
			lease, _ := key(at.tag, string(leaseKind))
			job.keys = append(job.keys, lease)
		}
		out = append(out, job)
	}
	return out, nil
}

// A plain is an opened record, and what it is sealed to beside its key.
type plain struct {
	bytes   []byte
	binding []string
}

// open opens a record, or says why not. nil: there is nothing to do about it.
func (r *rewrapping) open(ctx context.Context, at *storedKey) (*plain, string, error) {
	switch at.form.sealed {
	case bindsConnection:
		return r.openForConnection(ctx, at)
	case bindsIssuer:
		issuer, ok := r.issuers[at.key]
		if !ok {
			return nil, whyIssuer, nil
		}
		return r.openFor(at, issuer)
	}
	return r.openFor(at)
}

func (r *rewrapping) openFor(at *storedKey, binding ...string) (*plain, string, error) {
	bytes, err := r.keys.open(at.form.kind, at.key, at.raw, binding...)
	if err != nil {
		return nil, whyClosed, nil //nolint:nilerr // it says only that
	}
	return &plain{bytes, binding}, "", nil
}

// openForConnection opens a connection, or the note on its refresh, for whom the
// owner says that it is, or grants and renewals.
func (r *rewrapping) openForConnection(ctx context.Context, at *storedKey) (*plain, string, error) {
	why := whyWhose
	if at.owner != "" {
		ownedBy, _ := ownerKey(at.tag)
		if o, err := r.openOwner(ownedBy, at.owner); err == nil {
			why = whyClosed
			whose := ConnectionRef{Agent: o.Agent, User: o.User, Provider: o.Provider}
			if p, not, _ := r.openFor(at, whose.binding()...); not == "" {
				return p, "", nil
			}
		}
	}
	connection, err := key(at.tag, string(connectionKind))
	if err != nil {
		return nil, whyClosed, nil //nolint:nilerr // no key that athd wrote
	}
	there, holders, err := r.holdersOf(ctx, connection, at.tag)
	if err != nil {
		return nil, "", err
	}
	for _, h := range holders {
		why = whyClosed
		if p, not, _ := r.openFor(at, h.ref.binding()...); not == "" {
			return p, "", nil
		}
	}
	switch {
	case there:
		return nil, why, nil
	case at.form.kind == attemptKind:
		return nil, "", r.dropAttempt(ctx, at, connection)
	}
	return nil, "", nil // it has ended since
}

func (r *rewrapping) dropAttempt(ctx context.Context, at *storedKey, connection string) error {
	err := r.do(ctx, "drop_attempt", func(ctx context.Context) error {
		return r.run(ctx, r.scripts.dropAttempt, ErrChanged, []string{at.key, connection}, at.raw)
	})
	switch {
	case errors.Is(err, ErrChanged):
		r.lost++
		return nil
	case err == nil:
		r.done.Dropped++
	}
	return err
}

// busy reports whether a record is left for a later pass: a session whose code is
// being redeemed, which an athd has read that does not expect anybody to write it.
func (r *rewrapping) busy(at *storedKey, p *plain) bool {
	if at.form.kind != sessionKind || r.last {
		return false
	}
	s, _, err := decodeSession(p.bytes)
	if err != nil || s.Phase != Redeeming || !r.now().Before(s.Expires) {
		return false
	}
	r.done.Left++
	return true
}

func (r *rewrapping) has(id uint32) bool {
	k, ok := r.keys.Key(id)
	return ok && k.Enabled
}

// write replaces records, in one round trip for each of Redis' servers.
func (r *rewrapping) write(ctx context.Context, jobs []resealing) error {
	if len(jobs) == 0 {
		return nil
	}
	answers := make([]int64, len(jobs))
	err := r.patiently(ctx, func() error {
		return r.do(ctx, "rewrap", func(ctx context.Context) error {
			return r.pick(r.scripts.rewrap, func(text *redis.Script) error { return r.send(ctx, text, jobs, answers) })
		})
	})
	if err != nil {
		return err
	}
	for i, job := range jobs {
		switch answers[i] {
		case 1:
			r.wrote++
			r.done.Records[string(job.at.form.kind)]++
			r.hold(job.at.key, job.next)
		case 2:
			r.done.Left++
		default:
			r.lost++ // whoever was first has sealed it with a primary, or it is gone
		}
	}
	return nil
}

func (r *rewrapping) send(ctx context.Context, text *redis.Script, jobs []resealing, answers []int64) error {
	ran := make([]*redis.Cmd, len(jobs))
	whole := false
	for {
		err := r.server.ask(ctx, func(batch redis.Pipeliner) {
			for i, job := range jobs {
				if whole {
					ran[i] = text.Eval(ctx, batch, job.keys, job.at.raw, job.next)
				} else {
					ran[i] = text.EvalSha(ctx, batch, job.keys, job.at.raw, job.next)
				}
			}
		})
		unknown := false
		for i, cmd := range ran {
			if err != nil {
				break
			}
			if unknown = unknown || redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT"); !unknown {
				answers[i], err = cmd.Int64()
			}
		}
		if err != nil || !unknown {
			return err
		}
		whole = true // what was done already is done again, which is nothing
	}
}
