package tokenstore_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

func examine(t *testing.T, url string, keys *tokenstore.Keyset) *tokenstore.Examination {
	t.Helper()
	x, err := tokenstore.Examine(t.Context(), tokenstore.Config{URL: url, Keyset: keys, Timeout: 10 * time.Second})
	noErr(t, err)
	return x
}

func TestExaminationOfAGoodServerSaysYesAndLeavesNothingBehind(t *testing.T) {
	keys := newKeyset(t)
	for name, start := range map[string]func(*testing.T) (string, func(*testing.T) map[string][]byte){
		"standalone": func(t *testing.T) (string, func(*testing.T) map[string][]byte) {
			server := realredis.Start(t, aclUser+" +info +config|get")
			return "redis://athd:" + password + "@" + server.Addr(), func(t *testing.T) map[string][]byte { return server.Dump(t) }
		},
		"cluster": func(t *testing.T) (string, func(*testing.T) map[string][]byte) {
			nodes := realredis.StartCluster(t, 2, aclUser+aclCluster+" +info +config|get")
			return "redis+cluster://athd:" + password + "@" + nodes[0].Addr(), func(t *testing.T) map[string][]byte {
				all := nodes[0].Dump(t)
				maps.Copy(all, nodes[1].Dump(t))
				return all
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, dump := start(t)
			s := backend{url: url, keys: keys}.open(t)
			newFlow(t).store(t, s)
			_, err := s.Ready(t.Context()) // writes the canary
			noErr(t, err)
			noErr(t, s.Close())
			before := dump(t)
			x := examine(t, url, keys)
			for name, a := range map[string]tokenstore.Answer{"reach": x.Reach, "login": x.Login, "role": x.Role, "rights": x.Rights,
				"write": x.Write, "keyset": x.Keyset, "subscribe": x.Subscribe, "info": x.Info} {
				if !a.OK() {
					t.Errorf("%s: %+v", name, a)
				}
			}
			if len(x.Forbidden) > 0 || len(x.Advised) > 0 || x.User != "athd" || strings.Contains(x.Address, password) {
				t.Errorf("%+v", x)
			}
			if d := x.Now.Sub(x.Asked).Abs(); x.Now.IsZero() || d > time.Second {
				t.Errorf("the server's clock is off by %v", d)
			}
			if x.Health.Evicts != "" || !strings.HasPrefix(x.Health.Server, "redis 7") && !strings.HasPrefix(x.Health.Server, "valkey") {
				t.Errorf("%+v", x.Health)
			}
			if after := dump(t); len(after) != len(before) || !slices.Equal(slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before))) {
				t.Errorf("keys before %q, after %q", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

// A new primary key seals the canary again, but not for an examination.
func TestExaminationLeavesTheCanaryAlone(t *testing.T) {
	server := realredis.Start(t)
	before, both, _ := rotated(t)
	for _, ready := range []bool{false, true} {
		if ready {
			one := backend{url: server.URL(), keys: before}.open(t)
			_, err := one.Ready(t.Context())
			noErr(t, err)
			noErr(t, one.Close()) // it begins the log of changes in the background
		}
		was := server.Dump(t)
		if x := examine(t, server.URL(), both); !x.Keyset.OK() {
			t.Errorf("%+v", x.Keyset)
		}
		if is := server.Dump(t); string(is[canaryKey]) != string(was[canaryKey]) || len(is) != len(was) {
			t.Errorf("it wrote: %q, before %q", is, was)
		}
	}
}

// Each right that the package documentation lists is missed by its name.
func TestExaminationNamesEachMissingRight(t *testing.T) {
	server, keys := realredis.Start(t), newKeyset(t)
	doc, err := os.ReadFile("doc.go")
	noErr(t, err)
	granted := strings.Fields(aclUser)[4:]
	tried := 0
	for i, right := range granted {
		name, isCommand := strings.CutPrefix(right, "+")
		if isCommand && !strings.Contains(strings.ReplaceAll(string(doc), "\n// ", " "), strings.ToUpper(strings.ReplaceAll(name, "|", " "))) {
			t.Errorf("doc.go does not name %s", right)
		}
		if name == "hello" { // which no ACL can forbid
			continue
		}
		tried++
		args := []any{"ACL", "SETUSER", "athd", "reset", "on", ">" + password}
		for j, other := range granted {
			if j != i {
				args = append(args, other)
			}
		}
		noErr(t, server.Client().Do(t.Context(), args...).Err())
		x := examine(t, "redis://athd:"+password+"@"+server.Addr(), keys)
		missing := slices.Concat(x.Forbidden, x.Advised)
		if right == "+subscribe" {
			if x.Subscribe.OK() || tokenstore.Reason(x.Subscribe.Err) != "the server's ACL forbids a command that athd needs" {
				t.Errorf("without %s: %+v", right, x.Subscribe)
			}
			continue
		}
		if !slices.Contains(missing, right) {
			t.Errorf("without %s it says that these are missing: %q", right, missing)
		}
		if needed := !slices.Contains([]string{"+role", "+wait", "+publish", "&ath:*"}, right); needed == x.Rights.OK() {
			t.Errorf("without %s the rights are said to be: %+v", right, x.Rights)
		}
	}
	if tried < 20 {
		t.Errorf("only %d rights were tried", tried)
	}
}

func TestExaminationSaysWhatIsWrongWithAServer(t *testing.T) {
	keys := newKeyset(t)
	t.Run("a wrong password", func(t *testing.T) {
		server := realredis.Start(t, aclUser)
		for url, reason := range map[string]string{
			"redis://athd:no@" + server.Addr():                            "the server does not accept the store's user and password",
			"redis://:no@" + server.Addr():                                "the server does not accept the store's user and password",
			"redis://" + server.Addr():                                    "the server wants a user or password, and the store's url has none",
			"redis://:" + server.Password() + "@" + server.Addr() + "/99": "the server has no database of this number",
		} {
			x := examine(t, url, keys)
			if !x.Reach.OK() || !x.Login.Asked || x.Login.OK() || tokenstore.Reason(x.Login.Err) != reason || x.Role.Asked || x.Write.Asked {
				t.Errorf("%s: %+v", url, x)
			}
		}
	})
	t.Run("a database that needs SELECT", func(t *testing.T) {
		server := realredis.Start(t, aclUser)
		if x := examine(t, "redis://athd:"+password+"@"+server.Addr()+"/1", keys); x.Rights.OK() || !slices.Equal(x.Forbidden, []string{"+select"}) {
			t.Errorf("%+v", x)
		}
	})
	t.Run("a replica", func(t *testing.T) {
		master := realredis.Start(t)
		replica := realredis.StartReplica(t, master)
		x := examine(t, replica.URL(), keys)
		if x.Role.OK() || x.Master != master.Addr() || !strings.HasSuffix(tokenstore.Reason(x.Role.Err), " is a replica") || x.Write.Asked || x.Keyset.Asked {
			t.Errorf("%+v", x)
		}
	})
	t.Run("another keyset", func(t *testing.T) {
		server := realredis.Start(t)
		s := backend{url: server.URL(), keys: keys}.open(t)
		newFlow(t).store(t, s)
		if x := examine(t, server.URL(), newKeyset(t)); !x.Keyset.Asked || x.Keyset.OK() || tokenstore.Reason(x.Keyset.Err) != tokenstore.ErrOtherKeyset.Error() {
			t.Errorf("%+v", x)
		}
		if dump := fmt.Sprint(slices.Collect(maps.Keys(server.Dump(t)))); strings.Contains(dump, "canary") {
			t.Errorf("it wrote %s", dump)
		}
	})
	t.Run("full, evicting", func(t *testing.T) {
		server := realredis.Start(t)
		noErr(t, server.Client().ConfigSet(t.Context(), "maxmemory", "1").Err())
		x := examine(t, server.URL(), keys)
		if x.Write.OK() || tokenstore.Reason(x.Write.Err) != "the server's memory is full (maxmemory)" || !x.Rights.OK() {
			t.Errorf("%+v", x)
		}
		noErr(t, server.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
		if x := examine(t, server.URL(), keys); x.Health.Evicts != "allkeys-lru" {
			t.Errorf("%+v", x.Health)
		}
	})
	t.Run("TLS that is not trusted, or not there", func(t *testing.T) {
		authority := realenvoy.NewAuthority(t)
		cert, key := authority.Issue("127.0.0.1")
		server, plain := realredis.StartTLS(t, realredis.TLS{CertFile: cert, KeyFile: key, CAFile: authority.CAFile}), realredis.Start(t)
		for url, want := range map[string][2]string{
			"rediss://:" + server.Password() + "@" + server.Addr(): {"the server's certificate is not one that athd may trust", "store.ca_file"},
			"redis://:" + server.Password() + "@" + server.Addr():  {"the server ends connections", "store.url: rediss://, if the server speaks TLS"},
			"rediss://:" + plain.Password() + "@" + plain.Addr():   {"the store does not answer in time", "with rediss://, whether it speaks TLS"},
		} {
			x, err := tokenstore.Examine(t.Context(), tokenstore.Config{URL: url, Keyset: keys, Timeout: time.Second})
			noErr(t, err)
			if x.Reach.OK() || !strings.HasPrefix(tokenstore.Reason(x.Reach.Err), want[0]) || !strings.Contains(tokenstore.Cure(x.Reach.Err), want[1]) || x.Login.Asked {
				t.Errorf("want %q, it is %q: %q", want, tokenstore.Reason(x.Reach.Err), tokenstore.Cure(x.Reach.Err))
			}
		}
	})
	t.Run("Sentinel", func(t *testing.T) {
		w := realredis.StartWatched(t, 1)
		c := tokenstore.Config{URL: w.URL(), Keyset: keys, Timeout: 10 * time.Second, SentinelPassword: ath.NewSecret(w.SentinelPassword)}
		x, err := tokenstore.Examine(t.Context(), c)
		noErr(t, err)
		if !x.Reach.OK() || !x.Login.OK() || !x.Role.OK() || !x.Rights.OK() || !x.Write.OK() || !x.Keyset.OK() || !x.Subscribe.OK() || x.Waiting != 1 {
			t.Errorf("%+v", x)
		}
	})
	t.Run("away", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		noErr(t, err)
		l.Close()
		x := examine(t, "redis://:secretpassword@"+l.Addr().String(), keys)
		if x.Reach.OK() || tokenstore.Reason(x.Reach.Err) != "nothing listens at the store's address" || x.Login.Asked {
			t.Errorf("%+v", x)
		}
	})
}
