package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/tokenstore"
)

// redisTimeout is how long one answer of Redis is waited for: longer than athd
// does, so that a slow server is told from one that is away.
const redisTimeout = 3 * time.Second

func (d *doctor) redis(ctx context.Context, f *findings) {
	const asked = "Redis: login, role, rights, a write, the keyset"
	if d.Settings == nil {
		f.notAsked("reach", asked, withoutFile, "")
		return
	}
	if d.Settings.Embedded {
		f.notAsked("reach", asked, "store.url is embedded: it is inside of the athd that runs, and /readyz speaks for it", "")
		return
	}
	c := d.Settings.Store
	c.URL, c.Timeout, c.Logger, c.Observe = d.Settings.StoreURL.Reveal(), redisTimeout, nil, nil
	x, err := tokenstore.Examine(ctx, c)
	if err != nil {
		f.fault("reach", asked, err.Error(), "athd validate --config "+d.File)
		return
	}
	d.clocks.add(reading{who: "Redis", now: x.Now, asked: x.Asked})
	r := redisFindings{findings: f, x: x, d: d}
	r.reach()
	r.login()
	r.role()
	r.rights()
	r.write()
	r.keyset()
	r.keys()
	r.server()
	r.subscribe()
}

type redisFindings struct {
	*findings
	x *tokenstore.Examination
	d *doctor
}

// answer adds what came of one question. cure "" is the one for the error.
func (r redisFindings) answer(id, asked string, a tokenstore.Answer, found, unasked, cure string) {
	switch {
	case !a.Asked:
		r.notAsked(id, asked, unasked, "")
	case a.Err == nil:
		r.ok(id, asked, found)
	default:
		if cure == "" {
			cure = tokenstore.Cure(a.Err)
		}
		r.fault(id, asked, tokenstore.Reason(a.Err), cure)
	}
}

func (r redisFindings) reach() {
	const asked = "whether the server at store.url answers"
	limit := r.d.Settings.Store.Timeout
	if r.x.Reach.OK() && r.x.Took > limit {
		r.warn("reach", asked, fmt.Sprintf("%s took %v to answer the first time, and athd waits %v for each answer (store.timeout)", r.x.Address, r.x.Took.Round(time.Millisecond), limit),
			"in athd.yaml, store: {timeout: 900ms}; or a Redis that is nearer")
		return
	}
	r.answer("reach", asked, r.x.Reach, fmt.Sprintf("%s answers, in %v", r.x.Address, r.x.Took.Round(10*time.Microsecond)), "", "")
	if r.x.Reach.Err != nil {
		r.all[len(r.all)-1].Cause += " (" + r.x.Address + ")"
		if strings.HasPrefix(r.x.Address, "rediss") { // a server without TLS waits for more, and says nothing
			r.all[len(r.all)-1].Cure += "; rediss:// in store.url is TLS: does the server speak it on that port?"
		}
	}
}

const noConnection = "there is no connection"

func (r redisFindings) login() {
	r.answer("login", "whether it accepts user, password and database of store.url", r.x.Login, "as user "+r.x.User, noConnection, "")
}

func (r redisFindings) role() {
	cure := ""
	if r.x.Master != "" {
		cure = fmt.Sprintf("in athd.yaml, store.url: the address of the master, which it says is %s; or, where this server is to be the master: redis-cli REPLICAOF NO ONE", r.x.Master)
	}
	r.answer("role", "whether it is a master", r.x.Role, "a master", "nobody is logged in", cure)
}

func (r redisFindings) rights() {
	const asked = "whether its ACL allows each command that athd uses, on keys ath:*"
	cure := ""
	if len(r.x.Forbidden) > 0 {
		cure = r.grant(r.x.Forbidden)
	}
	r.answer("rights", asked, r.x.Rights, "all commands", "nobody is logged in", cure)
	if r.x.Rights.Err != nil && len(r.x.Forbidden) > 0 {
		r.all[len(r.all)-1].Cause = "the server's ACL does not give user " + r.x.User + ": " + strings.Join(r.x.Forbidden, " ")
	}
	if len(r.x.Advised) > 0 {
		r.warn("rights", "whether its ACL allows what makes athd surer and quicker", "the ACL does not give "+strings.Join(r.x.Advised, " ")+": athd goes on, and knows less", r.grant(r.x.Advised))
	}
}

// grant is the command that gives rights to the user.
func (r redisFindings) grant(rights []string) string {
	quoted := make([]string, len(rights))
	for i, one := range rights {
		quoted[i] = one
		if strings.ContainsAny(one, "~&|*") {
			quoted[i] = "'" + one + "'"
		}
	}
	return fmt.Sprintf("redis-cli ACL SETUSER %s %s, and the same in the server's users.acl or redis.conf, so that it survives a restart", r.x.User, strings.Join(quoted, " "))
}

const noMaster = "it is no master, or nobody is logged in"

func (r redisFindings) write() {
	r.answer("write", "whether a key can be written, and deleted", r.x.Write, "a key was written and deleted", noMaster, "")
}

func (r redisFindings) keyset() {
	r.answer("keyset", "whether store.keyset_file opens what it holds", r.x.Keyset, "it does, or nothing is stored yet", noMaster, "")
}

// keys is whether the athd that run have the same keys, and the one that seals.
func (r redisFindings) keys() {
	const asked = "whether every athd that runs seals with the same key, and uses the file of its keyset"
	const cure = "athd keys status --config athd.yaml says which athd has which keys, and what comes next"
	refused, sealing := 0, map[uint32]int{}
	for i := range r.x.Replicas {
		of := &r.x.Replicas[i]
		sealing[of.Primary]++
		if of.Refused != "" {
			refused++
		}
	}
	switch {
	case len(r.x.Replicas) == 0: // none runs, which is told of athd, or one from before that tells nothing
	case refused > 0:
		r.fault("keys", asked, fmt.Sprintf("of %d athd %d refuse the file of their keyset, and go on with the last good one", len(r.x.Replicas), refused), cure+"; athd's log has why (keyset refused)")
	case len(sealing) > 1:
		r.warn("keys", asked, fmt.Sprintf("%d athd seal with %d different keys: a rotation is under way, or one has another file", len(r.x.Replicas), len(sealing)), cure)
	default:
		r.ok("keys", asked, fmt.Sprintf("%d athd, which all seal with %s", len(r.x.Replicas), tokenstore.KeyName(r.x.Replicas[0].Primary)))
	}
}

// server is what INFO says.
func (r redisFindings) server() {
	const asked = "version, persistence, memory and what it evicts (INFO, CONFIG GET)"
	if !r.x.Info.OK() {
		if r.x.Info.Err != nil && r.x.Health.Server == "" && r.x.Rights.Asked && r.forbids("+info") {
			r.notAsked("server", asked, "the ACL does not allow it", r.grant([]string{"+info", "+config|get"}))
			return
		}
		r.answer("server", asked, r.x.Info, "", "nobody is logged in", "")
		return
	}
	h, before := r.x.Health, len(r.all)
	for _, c := range h.Concerns() {
		r.warn(c.ID, asked, c.Text, c.Cure)
	}
	if !h.Persistent {
		r.warn("persistence", asked, "it is not known to write to disk: a restart of it may lose every grant", "redis-cli CONFIG SET appendonly yes, and appendonly yes in redis.conf")
	}
	if h.MaxMemory > 0 && h.UsedMemory > h.MaxMemory/10*9 {
		r.warn("memory", asked, fmt.Sprintf("%d of %d bytes (maxmemory) are used: when it is full, nobody can register, consent or get a token", h.UsedMemory, h.MaxMemory),
			fmt.Sprintf("redis-cli CONFIG SET maxmemory %d", 2*max(h.UsedMemory, h.MaxMemory)))
	}
	if want := r.d.Settings.Store.WaitReplicas; want > r.x.Waiting && r.x.Role.OK() {
		r.fault("replicas", "whether it has as many replicas as store.wait_replicas says", fmt.Sprintf("store.wait_replicas is %d, and %s is connected: no revocation is acknowledged", want, counted(r.x.Waiting, "replica")),
			"start the missing replicas (redis-cli INFO replication lists those that are there); or in athd.yaml, store: {wait_replicas: "+fmt.Sprint(r.x.Waiting)+"}")
	}
	if len(r.all) == before {
		r.ok("server", asked, h.Server+", evicts nothing, writes to disk")
	}
}

func (r redisFindings) forbids(right string) bool {
	return slices.Contains(r.x.Forbidden, right) || slices.Contains(r.x.Advised, right)
}

func (r redisFindings) subscribe() {
	const asked = "whether changes of other athd can be heard of (SUBSCRIBE)"
	if r.x.Subscribe.Err != nil {
		r.warn("subscribe", asked, tokenstore.Reason(r.x.Subscribe.Err)+": changes of other athd are found within a second by comparing", r.grant([]string{"+subscribe", "+publish", "&ath:*"}))
		return
	}
	r.answer("subscribe", asked, r.x.Subscribe, "they can", "nobody is logged in", "")
}
