package tokenstore_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// F-2. Every verb, the pipelined ones above all, on a server that refuses while
// a connection is set up or afterwards: none may report success.
// proves: V-4
func TestNoVerbSucceedsWhereTheServerRefuses(t *testing.T) {
	const stranger = "user stranger on >" + password + " ~ath:* -@all +hello +client +wait +role +ping +info"
	for name, refusal := range map[string]struct {
		url    func(*realredis.Server) string // "": the server's own
		begin  func(*testing.T, *realredis.Server)
		reason string
	}{
		"no password (NOAUTH)": {
			url:    func(s *realredis.Server) string { return "redis://" + s.Addr() },
			reason: "the server wants a user or password, and the store's url has none",
		},
		"another password (WRONGPASS)": {
			url:    func(s *realredis.Server) string { return "redis://:" + password + "@" + s.Addr() },
			reason: "the server does not accept the store's user and password",
		},
		"another user (WRONGPASS)": {
			url:    func(s *realredis.Server) string { return "redis://nobody:" + s.Password() + "@" + s.Addr() },
			reason: "the server does not accept the store's user and password",
		},
		"a user who may do nothing (NOPERM)": {
			url:    func(s *realredis.Server) string { return "redis://stranger:" + password + "@" + s.Addr() },
			reason: "the server's ACL forbids a command that athd needs",
		},
		"a database that is not there": {
			url:    func(s *realredis.Server) string { return strings.TrimSuffix(s.URL(), "/0") + "/99" },
			reason: "the server has no database of this number",
		},
		"as many clients as it allows": {
			begin: func(t *testing.T, s *realredis.Server) {
				raw := s.Client()
				noErr(t, raw.ConfigSet(t.Context(), "maxclients", "1").Err()) // its own connection stays
				for _, of := range []string{"normal", "pubsub"} {
					noErr(t, raw.Do(t.Context(), "CLIENT", "KILL", "TYPE", of, "SKIPME", "yes").Err())
				}
			},
			reason: "the server ends connections: it restarts, or has as many clients as it allows (maxclients)",
		},
		"a password that was changed while athd ran": {
			begin: func(t *testing.T, s *realredis.Server) {
				raw := s.Client()
				noErr(t, raw.ConfigSet(t.Context(), "requirepass", "next-"+password).Err())
				noErr(t, raw.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
			},
			reason: "the server does not accept the store's user and password",
		},
		"a user whose rights were taken while athd ran": {
			url: func(s *realredis.Server) string { return "redis://waning:" + password + "@" + s.Addr() },
			begin: func(t *testing.T, s *realredis.Server) {
				noErr(t, s.Client().Do(t.Context(), "ACL", "SETUSER", "waning", "-@all").Err())
			},
			reason: "the server's ACL forbids a command that athd needs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := realredis.Start(t, stranger, "user waning on >"+password+" ~ath:* +@all")
			b := backend{url: server.URL(), keys: newKeyset(t)}
			prepare := b.open(t)
			all := verbs(t, prepare)
			noErr(t, prepare.Close())
			if refusal.url != nil {
				b.url = refusal.url(server)
			}
			stores := map[string]*tokenstore.Store{}
			for verb := range all {
				stores[verb] = b.open(t)
				if refusal.begin != nil && !strings.Contains(name, "clients") {
					_, err := stores[verb].Ready(t.Context()) // has a connection in its pool
					noErr(t, err)
				}
			}
			if refusal.begin != nil {
				refusal.begin(t, server)
			}
			for _, verb := range slices.Sorted(maps.Keys(all)) {
				start := time.Now()
				err := all[verb](t.Context(), stores[verb])
				wantErr(t, err, tokenstore.ErrUnavailable)
				if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), server.Password()) {
					t.Errorf("%s: the error holds the password", verb)
				}
				if got := tokenstore.Reason(err); got != refusal.reason {
					t.Errorf("%s after %v: the reason is %q, want %q (%v)", verb, time.Since(start), got, refusal.reason, err)
				}
			}
		})
	}
}

// A write of which one part is refused did not succeed, whichever part.
func TestAWriteIsNotDoneWhereACommandOfItIsForbidden(t *testing.T) {
	for _, lacks := range []string{"set", "eval", "zadd"} {
		t.Run(lacks, func(t *testing.T) {
			server := realredis.Start(t, aclUser)
			b := backend{url: "redis://athd:" + password + "@" + server.Addr(), keys: newKeyset(t)}
			s := b.open(t)
			all := verbs(t, s)
			noErr(t, server.Client().Do(t.Context(), "ACL", "SETUSER", "athd", "-"+lacks).Err())
			wantErr(t, all["put connection"](t.Context(), s), tokenstore.ErrUnavailable)
		})
	}
}
