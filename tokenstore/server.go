package tokenstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A server is the only way to Redis: all commands go through [server.ask], which
// checks what no single reply shows, that a master answered.
type server struct {
	connect func(onConnect) redis.UniversalClient
	name    string // address without credentials
	log     *slog.Logger
	// proves: each batch carries the proof that a master answers it. Nodes of a
	// cluster need none, since a replica redirects; the embedded server has no
	// replicas.
	proves bool
	probe  atomic.Int32 // how a master proves that it is one; see role.go

	current atomic.Pointer[link]

	mu       sync.Mutex // of replacing current
	closed   bool
	replaced time.Time

	stop      func() // ends watch
	notMaster atomic.Pointer[notMasterError]
	watching  sync.WaitGroup
}

// A link is the client in use, with all its pooled connections.
type link struct {
	client redis.UniversalClient
	runID  atomic.Pointer[string] // of the server that its newest connection leads to; nil: not known
	spare  sync.Pool              // of redis.Pipeliner, of this client and empty
}

// batch returns an empty one. It may be given back to spare when it was
// executed, which empties it; the commands that were in it are not used again.
func (l *link) batch() redis.Pipeliner {
	if spare, ok := l.spare.Get().(redis.Pipeliner); ok {
		return spare
	}
	return l.client.Pipeline()
}

func newServer(name string, proves bool, log *slog.Logger, connect func(onConnect) redis.UniversalClient) *server {
	v := &server{connect: connect, name: name, proves: proves, log: log, stop: func() {}}
	v.current.Store(v.newLink())
	return v
}

func (v *server) newLink() *link {
	l := &link{}
	if !v.proves {
		l.client = v.connect(nil)
		return l
	}
	l.client = v.connect(func(ctx context.Context, conn *redis.Conn) error { return v.meet(ctx, l, conn) })
	return l
}

func (v *server) client() redis.UniversalClient { return v.current.Load().client }

// ask sends what fill puts into a batch, in one round trip. On nil every
// command was answered, by a master, and each is asked for its own result. On
// an error no result counts. Where a server turns out to be none that may be
// asked, all connections to it end, and what the address leads to now is asked
// once more: fill may be called twice.
func (v *server) ask(ctx context.Context, fill func(redis.Pipeliner)) error {
	at := v.current.Load()
	err := v.askOn(ctx, at, fill)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoProof): // there is another way to prove it now
	case isNotMaster(err):
		v.leave(at, err)
		fallthrough
	default:
		if v.current.Load() == at {
			return err
		}
	}
	if ctx.Err() != nil {
		return err
	}
	return v.askOn(ctx, v.current.Load(), fill)
}

// askOn is ask without the second try.
func (v *server) askOn(ctx context.Context, at *link, fill func(redis.Pipeliner)) error {
	batch := at.batch()
	fill(batch)
	if !v.proves {
		commands, err := send(ctx, batch)
		at.spare.Put(batch)
		if cluster, is := at.client.(*redis.ClusterClient); is && lost(commands, err) {
			// The client does not look who took over from a node that it cannot
			// reach, but once a minute.
			cluster.ReloadState(ctx)
		}
		return err
	}
	// The proof comes last, so that it was a master when it answered the rest.
	// A server reads up to 16 KiB of one connection before it turns to another.
	how := v.probe.Load()
	proof := prove(ctx, batch, how)
	err := exec(ctx, batch)
	at.spare.Put(batch)
	if err != nil {
		return err
	}
	return v.judge(proof.Err(), how)
}

// An asker is [server.ask] or what does the same for a part of the keys.
type asker func(ctx context.Context, fill func(redis.Pipeliner)) error

// askOf asks one node of a cluster.
func askOf(node *redis.Client) asker {
	return func(ctx context.Context, fill func(redis.Pipeliner)) error {
		batch := node.Pipeline()
		fill(batch)
		return exec(ctx, batch)
	}
}

// exec sends a batch. On nil every command holds its own reply, or the error
// that there is none. The client does not say so itself where a connection
// could not be set up because the server refused (WRONGPASS, no such database,
// too many clients): then no command has an error, and none was sent.
func exec(ctx context.Context, batch redis.Pipeliner) error {
	_, err := send(ctx, batch)
	return err
}

func send(ctx context.Context, batch redis.Pipeliner) ([]redis.Cmder, error) {
	commands, err := batch.Exec(ctx)
	if err == nil {
		return commands, nil
	}
	for _, c := range commands {
		if c.Err() != nil {
			return commands, nil //nolint:nilerr // each command has its own
		}
	}
	return commands, err
}

// lost reports whether a command of a batch, or all of it, met with a
// network that failed, and not with an answer.
func lost(commands []redis.Cmder, err error) bool {
	if err != nil {
		return !isReply(err)
	}
	for _, c := range commands {
		if err := c.Err(); err != nil && !isReply(err) {
			return true
		}
	}
	return false
}

// leave closes all connections of a link whose server must not be asked again.
func (v *server) leave(at *link, why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.current.Load() != at {
		return
	}
	v.current.Store(v.newLink())
	v.replaced = time.Now()
	v.log.Warn("redis connections closed", "addr", v.name, "error", why)
	at.client.Close()
}

// leaveOld is leave for a link of which a newer connection led to another
// server: the address has moved, and older connections may lead to a former
// master. At most once a second: behind some addresses there are several
// servers.
func (v *server) leaveOld(at *link) {
	v.mu.Lock()
	soon := time.Since(v.replaced) < time.Second
	v.mu.Unlock()
	if !soon {
		v.leave(at, errors.New("the address leads to another server now"))
	}
}

func (v *server) close() error {
	v.stop()
	v.watching.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	return v.current.Load().client.Close()
}
