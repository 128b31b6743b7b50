package tokenstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// An Examination is what a server answers to each thing that athd needs of it.
// What was not asked, because an answer before it was a no, is the zero [Answer].
type Examination struct {
	Address string // without credentials
	User    string // that athd logs in as; "default" where the url names none

	Reach Answer // it answers at all, over TLS where that is wanted
	Took  time.Duration
	Login Answer // it accepts user, password and database
	Role  Answer // it is a master
	// Master is where a replica says that its master is; "" if it says nothing.
	// It is the server's word.
	Master string

	Rights    Answer
	Forbidden []string // rights that athd needs and the ACL does not give, as ACL SETUSER spells them
	Advised   []string // rights without which athd goes on, and knows or does less

	Write     Answer // a key can be written, and deleted
	Keyset    Answer // what is stored was sealed with our keyset, or nothing is stored
	Subscribe Answer // changes of other athd can be heard of at once

	Replicas []Replica // athd that tell that they run; none where Keyset is a no

	Info    Answer    // what follows is known
	Health  Health    // as far as the ACL lets athd ask
	Now     time.Time // by the server's clock; zero: not known
	Asked   time.Time // when that was, by ours
	Waiting int       // replicas that are connected; of a cluster those of one node
}

// An Answer is what came of one question. The zero Answer: nobody asked.
type Answer struct {
	Asked bool
	Err   error // why it is a no; [Reason] says it to operators
}

// OK reports whether the answer is a yes.
func (a Answer) OK() bool { return a.Asked && a.Err == nil }

func answered(err error) Answer { return Answer{Asked: true, Err: err} }

// examineKey begins the keys that an examination writes, each with a random
// part. They are deleted at once, and last no longer than examineTTL.
const (
	examineKey = "ath:{canary}:examine:"
	examineTTL = 10 * time.Second
)

// Examine asks the server for everything that athd needs of it, one thing after
// the other, until ctx ends. Unlike [Open] it watches nothing, and it writes
// nothing but one key that it deletes. The error says that the Config is wrong,
// or that the store is embedded, which nobody else can enter.
func Examine(ctx context.Context, c Config) (*Examination, error) {
	if c.URL == Embedded {
		return nil, errors.New("the embedded store is a part of the athd that runs")
	}
	s, with, err := newStore(c)
	if err != nil {
		return nil, err
	}
	defer s.server.close()
	x := &examiner{
		Examination: Examination{Address: s.String(), User: s.address.user},
		store:       s, plain: s.address.connect(with, nil),
	}
	defer x.plain.Close()
	if x.User == "" {
		x.User = "default"
	}
	x.run(ctx)
	return &x.Examination, nil
}

type examiner struct {
	Examination
	store *Store
	plain redis.UniversalClient // that no replica is refused by
}

func (x *examiner) run(ctx context.Context) {
	if x.reach(ctx); !x.Login.OK() {
		return
	}
	x.role(ctx)
	x.rights(ctx)
	x.info(ctx)
	x.Subscribe = answered(x.subscribe(ctx))
	if !x.Role.OK() {
		return // what a replica holds is no answer
	}
	x.Write = answered(x.write(ctx))
	if x.Keyset = answered(x.store.sameKeyset(ctx)); x.Keyset.OK() {
		x.Replicas, _ = x.store.Replicas(ctx) // what is in the way of that is told above
	}
}

// reach tells a server that does not answer from one that refuses the login.
func (x *examiner) reach(ctx context.Context) {
	start := time.Now()
	batch := x.plain.Pipeline()
	ping := batch.Ping(ctx)
	err := exec(ctx, batch)
	if err == nil {
		err = ping.Err()
	}
	x.Took = time.Since(start)
	switch {
	case err == nil || isForbidden(err):
		x.Reach, x.Login = answered(nil), answered(nil)
	case refusesLogin(err):
		x.Reach, x.Login = answered(nil), answered(err)
	default:
		x.Reach = answered(err)
	}
}

func refusesLogin(err error) bool {
	for _, code := range []string{"NOAUTH", "WRONGPASS", "ERR DB index is out of range", "ERR AUTH <password> called without any password configured", "ERR invalid password"} {
		if hasCode(err, code) {
			return true
		}
	}
	return false
}

func (x *examiner) role(ctx context.Context) {
	client, single := x.plain.(*redis.Client)
	if !single {
		x.Role = answered(nil) // replicas in a cluster redirect
		return
	}
	conn := client.Conn()
	defer conn.Close()
	_, err := x.store.server.identify(ctx, conn)
	if x.Role = answered(err); !isNotMaster(err) {
		return
	}
	said, err := conn.Do(ctx, "ROLE").Slice()
	if err != nil || len(said) < 3 {
		return
	}
	host, _ := said[1].(string)
	if port, _ := said[2].(int64); host != "" && port > 0 {
		x.Master = net.JoinHostPort(host, strconv.FormatInt(port, 10))
	}
}

// A right is a command that athd uses, and how to try it.
type right struct {
	name   string // as an ACL spells it
	args   []any  // a use of it that changes nothing
	advice bool   // athd goes on without it
}

// rightsOf returns what the package documentation says that an ACL user needs.
// The keys are there never, and nobody takes an empty message for a change.
func (s *Store) rightsOf() []right {
	const key = absentKey
	all := []right{
		{name: "ping", args: []any{"PING"}},
		{name: "get", args: []any{"GET", key}},
		{name: "mget", args: []any{"MGET", key}},
		{name: "set", args: []any{"SET", key, "", "XX", "PX", 1}},
		{name: "del", args: []any{"DEL", key}},
		{name: "exists", args: []any{"EXISTS", key}},
		{name: "pttl", args: []any{"PTTL", key}},
		{name: "pexpire", args: []any{"PEXPIRE", key, 1}},
		{name: "zadd", args: []any{"ZADD", key, "XX", 0, "x"}},
		{name: "zrem", args: []any{"ZREM", key, "x"}},
		{name: "zremrangebyscore", args: []any{"ZREMRANGEBYSCORE", key, 0, 0}},
		{name: "zcard", args: []any{"ZCARD", key}},
		{name: "zrange", args: []any{"ZRANGE", key, 0, 0}},
		{name: "scan", args: []any{"SCAN", 0, "MATCH", key, "COUNT", 1}},
		{name: "eval", args: []any{"EVAL", "return 1", 1, key}},
		{name: "evalsha", args: []any{"EVALSHA", strings.Repeat("0", 40), 1, key}},
		{name: "hello", args: []any{"HELLO"}},
		{name: "client|setname", args: []any{"CLIENT", "SETNAME", "athd"}},
		{name: "role", args: []any{"ROLE"}, advice: true},
		{name: "wait", args: waitForNobody, advice: s.waitReplicas == 0},
		{name: "publish", args: []any{"PUBLISH", s.feed.channel, ""}, advice: true},
		{name: "info", args: []any{"INFO", "server"}, advice: true},
		{name: "config|get", args: []any{"CONFIG", "GET", "save"}, advice: true},
	}
	if s.address.cluster {
		all = append(all,
			right{name: "cluster|slots", args: []any{"CLUSTER", "SLOTS"}},
			right{name: "command", args: []any{"COMMAND", "COUNT"}})
	}
	return all
}

// rights tries each command. What else a server says of it is no matter of rights.
func (x *examiner) rights(ctx context.Context) {
	all := x.store.rightsOf()
	batch := x.plain.Pipeline()
	tried := make([]*redis.Cmd, len(all))
	for i, r := range all {
		tried[i] = batch.Do(ctx, r.args...)
	}
	if err := exec(ctx, batch); err != nil {
		x.Rights = answered(err)
		if isForbidden(err) { // already while the connection is set up
			x.Forbidden = []string{"+client|setname"}
			if strings.Contains(err.Error(), "'select'") { // the url names a database
				x.Forbidden = []string{"+select"}
			}
		}
		return
	}
	keys, channels := false, false
	for i, r := range all {
		err := tried[i].Err()
		switch {
		case !isForbidden(err):
		case aboutCommand(err) && r.advice:
			x.Advised = append(x.Advised, "+"+r.name)
		case aboutCommand(err):
			x.Forbidden = append(x.Forbidden, "+"+r.name)
		case r.name == "publish":
			channels = true
		default:
			keys = true
		}
	}
	if keys {
		x.Forbidden = append(x.Forbidden, "~ath:*")
	}
	if channels {
		x.Advised = append(x.Advised, "&ath:*")
	}
	x.Rights = answered(nil)
	if len(x.Forbidden) > 0 {
		x.Rights.Err = fmt.Errorf("the ACL does not give %s", strings.Join(x.Forbidden, " "))
	}
}

// aboutCommand tells a command that is not allowed, or not known, from a key or
// channel that is not.
func aboutCommand(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "to run the") || strings.Contains(text, "unknown command")
}

// write writes a key as athd writes records, and deletes it.
func (x *examiner) write(ctx context.Context) error {
	key := examineKey + rand.Text()
	if err := x.store.setIfAbsent(ctx, key, "examine", examineTTL.Milliseconds()); err != nil {
		return err
	}
	var gone *redis.IntCmd
	if err := x.store.server.ask(ctx, func(batch redis.Pipeliner) { gone = batch.Del(ctx, key) }); err != nil {
		return err
	}
	return gone.Err()
}

func (x *examiner) info(ctx context.Context) {
	before := time.Now()
	batch := x.plain.Pipeline()
	info, saves := batch.Info(ctx), batch.ConfigGet(ctx, "save")
	err := exec(ctx, batch)
	after := time.Now()
	if err == nil {
		err = info.Err()
	}
	if err != nil {
		x.Info = answered(err)
		return
	}
	x.Health, err = readInfo(info.Val(), saves.Val()["save"])
	x.Info = answered(err)
	if usec, err := strconv.ParseInt(infoField(info.Val(), "server_time_usec"), 10, 64); err == nil {
		x.Now, x.Asked = time.UnixMicro(usec), before.Add(after.Sub(before)/2)
	}
	x.Waiting, _ = strconv.Atoi(infoField(info.Val(), "connected_slaves"))
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

func (x *examiner) subscribe(ctx context.Context) error {
	sub := x.plain.Subscribe(ctx, x.store.feed.channel)
	defer sub.Close()
	_, err := sub.ReceiveTimeout(ctx, x.store.timeout)
	return err
}
