package replicas

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A finding is what a look at the store finds after a fault.
type finding struct {
	// half are records that contradict each other: an index entry without its
	// grant, a grant without its connection, a session with a code but without
	// the tokens it is for, one that is used up but gave no grant, a record
	// that does not open or never ends.
	half []string
	// left are the remains of handshakes that were answered with 503. Nobody
	// holds anything that leads to them, and their TTL ends them: a session
	// whose provider's code is spent, a connection without a session, a grant
	// whose token was never handed out.
	left int
	// lost is what was acknowledged and is not there any more.
	lost        []string
	lostRevoked int // of these, revocations
}

// keysetMark tells whose keyset sealed the other records. It holds nothing of
// any agent or user.
const keysetMark = "ath:{canary}:keyset"

// byTag splits a dump by tag: ath:{tag}:rest.
func byTag(dump map[string][]byte) map[string]map[string]string {
	out := map[string]map[string]string{}
	for key, value := range dump {
		tag, rest, ok := strings.Cut(strings.TrimPrefix(key, "ath:{"), "}:")
		if !ok {
			tag, rest = "", key
		}
		if out[tag] == nil {
			out[tag] = map[string]string{}
		}
		out[tag][rest] = string(value)
	}
	return out
}

// scan looks at all that a store holds, after the load has ended.
func (p *pair) scan(t *testing.T, raw *redis.Client, l *load) finding {
	t.Helper()
	ctx := t.Context()
	look := p.look(t)
	var f finding
	halfMade := func(format string, args ...any) { f.half = append(f.half, fmt.Sprintf(format, args...)) }

	dump := realredis.Dump(t, raw)
	for key := range dump {
		if key == keysetMark {
			continue // it stays for as long as the store does
		}
		if ttl, err := raw.PTTL(ctx, key).Result(); err != nil || ttl == -1 {
			halfMade("%s has no end (%v)", key, err)
		}
	}
	told := map[string]bool{}
	for _, d := range l.actions {
		if token, err := ath.ParseToken(d.token); err == nil {
			told[token.Digest().String()] = true
		}
	}
	tags := byTag(dump)
	named := map[string]bool{} // connections that a session leads to
	for tag, records := range tags {
		if _, ok := records["session"]; ok {
			held, err := look.Session(ctx, ath.Tag(tag))
			if err != nil {
				halfMade("a session does not open: %v", err)
				continue
			}
			s := held.Value
			there := tags[string(s.Connection)]
			named[string(s.Connection)] = true
			switch _, conn := there["conn"]; {
			case s.Phase == tokenstore.Redeeming:
				f.left++
			case s.Phase == tokenstore.Consented && !conn:
				halfMade("a session has a code, but no connection")
			case s.Phase == tokenstore.Consumed && !hasGrant(there):
				halfMade("a session is used up, but gave no grant")
			}
		}
		if _, ok := records["agent"]; ok {
			if _, err := look.Agent(ctx, ath.Tag(tag)); err != nil {
				halfMade("an agent does not open: %v", err)
			}
		}
	}
	for tag, records := range tags {
		_, conn := records["conn"]
		if conn && !named[tag] {
			f.left++
		}
		live := map[string]bool{}
		for line := range strings.Lines(records["grants"]) {
			digest, _, _ := strings.Cut(line, " ")
			live[digest] = true
			if _, ok := records["grant:"+digest]; !ok {
				halfMade("the index names a grant that is not there")
			}
			if !conn {
				halfMade("a live grant has no connection")
			}
		}
		for rest := range records {
			if digest, ok := strings.CutPrefix(rest, "grant:"); ok && live[digest] && !told[digest] {
				f.left++
			}
		}
	}
	p.settle(t, look, l, &f)
	return f
}

func hasGrant(records map[string]string) bool {
	for rest := range records {
		if strings.HasPrefix(rest, "grant:") {
			return true
		}
	}
	return false
}

// settle compares the store, and what Envoy lets through, with what was
// acknowledged.
func (p *pair) settle(t *testing.T, look *tokenstore.Store, l *load, f *finding) {
	t.Helper()
	ctx := t.Context()
	lose := func(what string) { f.lost = append(f.lost, what) }
	for _, d := range l.actions {
		if d.token == "" {
			held, err := look.Agent(ctx, ath.AgentTag(d.ID()))
			if errors.Is(err, tokenstore.ErrNotFound) || err == nil && held.Value.ClientID != d.clientID {
				lose("a registration")
			} else if err != nil {
				t.Fatal(err)
			}
			continue
		}
		token, err := ath.ParseToken(d.token)
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusOK
		switch held, err := look.Grant(ctx, token); {
		case errors.Is(err, tokenstore.ErrNotFound):
			lose("a grant")
			continue
		case err != nil:
			t.Fatal(err)
		case held.Value.Revoked.IsZero() && d.revoked:
			lose("a revocation")
			f.lostRevoked++
		case !held.Value.Revoked.IsZero() && !d.asked:
			t.Errorf("a grant is revoked that nobody revoked")
		case !held.Value.Revoked.IsZero():
			want = http.StatusUnauthorized
		}
		if r := p.call(ctx, d.actor, d.token); r.status != want {
			t.Errorf("a call is answered with %d %s, want %d", r.status, r.code, want)
		}
	}
}

// plant breaks records one by one, and wants the scan to see each.
func plant(t *testing.T, p *pair, raw *redis.Client) {
	ctx := t.Context()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		ending string
		change func(key string) error
		want   string
	}{
		"no connection": {":conn", func(key string) error { return raw.Del(ctx, key).Err() }, "a live grant has no connection"},
		"no grant":      {":grants", func(key string) error { return raw.ZAdd(ctx, key, redis.Z{Score: 1e15, Member: "00"}).Err() }, "the index names a grant that is not there"},
		"no end":        {":agent", func(key string) error { return raw.Persist(ctx, key).Err() }, "has no end"},
		"does not open": {":session", func(key string) error { return raw.Append(ctx, key, "x").Err() }, "a session does not open"},
		"used up for nothing": {":grants", func(key string) error {
			for old := range realredis.Dump(t, raw) {
				if strings.HasPrefix(old, strings.TrimSuffix(key, "s")+":") {
					return raw.Del(ctx, old, key).Err()
				}
			}
			return errors.New("there is no grant")
		}, "a session is used up, but gave no grant"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, raw.FlushAll(ctx).Err())
			l := &load{}
			if !l.walk(p, p.direct[0], p.direct[1], false) {
				t.Fatalf("the walk failed: %+v", l.moments)
			}
			if f := p.scan(t, raw, l); len(f.half)+len(f.lost)+f.left > 0 {
				t.Fatalf("before: %+v", f)
			}
			for key := range realredis.Dump(t, raw) {
				if strings.HasSuffix(key, c.ending) {
					must(t, c.change(key))
				}
			}
			l.actions = nil // what is broken need not work
			if f := p.scan(t, raw, l); !strings.Contains(strings.Join(f.half, "\n"), c.want) {
				t.Errorf("it found %q", f.half)
			}
		})
	}
	t.Run("lost", func(t *testing.T) {
		must(t, raw.FlushAll(ctx).Err())
		l := &load{}
		l.walk(p, p.direct[0], p.direct[1], false)
		must(t, raw.FlushAll(ctx).Err())
		if f := p.scan(t, raw, l); len(f.lost) != 2 {
			t.Errorf("it found %q", f.lost)
		}
	})
}
