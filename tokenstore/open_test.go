package tokenstore_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

const password = "correct-horse-battery"

func TestOpenAcceptsURL(t *testing.T) {
	for url, shown := range map[string]string{
		"redis://localhost":                                     "redis://localhost:6379",
		"redis://127.0.0.1:6380/3":                              "redis://127.0.0.1:6380",
		"redis://:" + password + "@h":                           "redis://h:6379",
		"redis://user:" + password + "@h:1/0":                   "redis://h:1",
		"rediss://user:" + password + "@h.example":              "rediss://h.example:6379",
		"redis://[::1]:6379/":                                   "redis://[::1]:6379",
		"redis+cluster://:" + password + "@h:7000":              "redis+cluster://h:7000",
		"rediss+cluster://h":                                    "rediss+cluster://h:6379",
		"redis+sentinel://:" + password + "@h:1,[::1],i/main/3": "redis+sentinel://h:1,[::1]:26379,i:26379/main",
		"rediss+sentinel://h/my-master.1":                       "rediss+sentinel://h:26379/my-master.1",
		"unix:///run/redis.sock":                                "unix:///run/redis.sock",
		"unix://u:" + password + "@/run/r.sock?db=12":           "unix:///run/r.sock",
	} {
		t.Run(shown, func(t *testing.T) {
			s, err := tokenstore.Open(tokenstore.Config{URL: url, Keyset: newKeyset(t)})
			noErr(t, err) // though nobody is there
			defer s.Close()
			if s.String() != shown {
				t.Errorf("it calls itself %s, want %s", s, shown)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	keys := newKeyset(t)
	for name, c := range map[string]tokenstore.Config{
		"no url":                                  {Keyset: keys},
		"no scheme":                               {Keyset: keys, URL: "localhost:6379"},
		"another scheme":                          {Keyset: keys, URL: "http://:" + password + "@localhost"},
		"no host":                                 {Keyset: keys, URL: "redis://:" + password + "@"},
		"a raw slash in password":                 {Keyset: keys, URL: "redis://:" + password + "/x@localhost"},
		"a raw hash in password":                  {Keyset: keys, URL: "redis://:" + password + "#x@localhost"},
		"a raw % in password":                     {Keyset: keys, URL: "redis://:" + password + "%x@localhost"},
		"a control character":                     {Keyset: keys, URL: "redis://:" + password + "\n@localhost"},
		"a bad port":                              {Keyset: keys, URL: "redis://:" + password + "@localhost:99999"},
		"port 0":                                  {Keyset: keys, URL: "redis://:" + password + "@localhost:0"},
		"a bad database":                          {Keyset: keys, URL: "redis://localhost/" + password},
		"a negative database":                     {Keyset: keys, URL: "redis://localhost/-1"},
		"a cluster's database":                    {Keyset: keys, URL: "redis+cluster://localhost/1"},
		"a Sentinel's bad port":                   {Keyset: keys, URL: "redis+sentinel://:" + password + "@h:1,h:99999/main"},
		"an empty Sentinel":                       {Keyset: keys, URL: "redis+sentinel://:" + password + "@h,,i/main"},
		"a Sentinel with a user":                  {Keyset: keys, URL: "redis+sentinel://:" + password + "@h,i?:" + password + "/main"},
		"a comma in password":                     {Keyset: keys, URL: "redis+sentinel://:x,/" + password + "@h/main"},
		"no master's name":                        {Keyset: keys, URL: "redis+sentinel://:" + password + "@h:1,h:2"},
		"a database for a name":                   {Keyset: keys, URL: "redis+sentinel://h//3"},
		"a strange name":                          {Keyset: keys, URL: "redis+sentinel://h/ma%20in"},
		"a Sentinel's bad database":               {Keyset: keys, URL: "redis+sentinel://h/main/" + password},
		"CAs without TLS":                         {Keyset: keys, URL: "redis://localhost", CAs: x509.NewCertPool()},
		"a certificate without TLS":               {Keyset: keys, URL: "redis://localhost", Certificate: &tls.Certificate{}},
		"a Sentinel's password without Sentinels": {Keyset: keys, URL: "redis://localhost", SentinelPassword: ath.NewSecret(password)},
		"embedded with replicas":                  {Keyset: keys, URL: tokenstore.Embedded, WaitReplicas: 1},
		"less than no replicas":                   {Keyset: keys, URL: "redis://localhost", WaitReplicas: -1},
		"a parameter":                             {Keyset: keys, URL: "redis://localhost?password=" + password},
		"a socket's parameter":                    {Keyset: keys, URL: "unix:///run/r.sock?x=" + password},
		"no socket":                               {Keyset: keys, URL: "unix://"},
		"a relative socket":                       {Keyset: keys, URL: "unix://run/r.sock"},
		"no keyset":                               {URL: "redis://:" + password + "@localhost"},
		"an empty keyset":                         {URL: "redis://localhost", Keyset: &tokenstore.Keyset{}},
		"an empty keyset inside":                  {URL: tokenstore.Embedded, Keyset: &tokenstore.Keyset{}},
		"a negative timeout":                      {URL: "redis://localhost", Keyset: keys, Timeout: -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tokenstore.Open(c)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	f := newFlow(t)
	keys := newKeyset(t)
	material, err := keys.Marshal()
	noErr(t, err)
	var key struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	noErr(t, json.Unmarshal(material, &key))
	c := tokenstore.Config{URL: "redis://user:" + password + "@localhost:1", Keyset: keys}
	s, err := tokenstore.Open(c)
	noErr(t, err)
	defer s.Close()
	inside := backend{url: tokenstore.Embedded, keys: keys}.open(t)
	f.store(t, inside)
	session, err := inside.Session(t.Context(), f.sessionID.Tag())
	noErr(t, err)
	reading, err := inside.Read(t.Context(), f.token, f.agent.ID)
	noErr(t, err)

	f.secrets["password"], f.secrets["key"] = password, key.Key[0].KeyData.Value
	delete(f.secrets, "agent's state") // no secret of ours: the agent's, shown to it and to the browser
	type hidden struct {
		session    tokenstore.Session
		connection tokenstore.Connection
		keys       tokenstore.Keyset
		token      ath.Token
	}
	for name, value := range map[string]any{
		"agent": f.agent, "session": f.session, "session pointer": &f.session, "grant": f.grant, "connection": f.connection,
		"connection pointer": &f.connection, "held": session, "held pointer": &session, "reading": reading, "config": c, "config pointer": &c,
		"store": s, "embedded store": inside, "keyset": keys, "keyset value": *keys,
		"unexported fields": hidden{f.session, f.connection, *keys, f.token},
		"slice":             []any{f.session, f.connection, keys, s, c},
	} {
		var log locked.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Info("x", "value", value)
		}
		plain, _ := json.Marshal(value)
		printed := log.String() + string(plain)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t"} {
			printed += fmt.Sprintf(verb+"\n", value)
		}
		for what, secret := range f.secrets {
			if form := traces(secret, []byte(printed)); form != "" {
				t.Errorf("%s prints the %s in %s", name, what, form)
			}
		}
	}
}

func TestEmbeddedStore(t *testing.T) {
	s, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Timeout: 10 * time.Second})
	noErr(t, err)
	t.Run("it ages", func(t *testing.T) {
		tag := ath.NewTag()
		first, err := s.Once(t.Context(), tag, "jti", "x", 10*time.Millisecond)
		if err != nil || !first {
			t.Fatal(first, err)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			first, err := s.Once(t.Context(), tag, "jti", "x", 10*time.Second)
			noErr(t, err)
			if first {
				return
			}
			if time.Now().After(end) {
				t.Fatal("it does not")
			}
		}
	})
	t.Run("closed, it is unavailable", func(t *testing.T) {
		noErr(t, s.Close())
		_, err := s.Ready(t.Context())
		wantErr(t, err, tokenstore.ErrUnavailable)
	})
}

func TestEveryOperationIsObserved(t *testing.T) {
	type seen struct {
		op  string
		err error
	}
	var all []seen
	s := backend{url: tokenstore.Embedded}.open(t, func(c *tokenstore.Config) {
		c.Observe = func(op string, took time.Duration, err error) {
			if took <= 0 {
				t.Errorf("%s took %v", op, took)
			}
			all = append(all, seen{op, err})
		}
	})
	_, err := s.Session(t.Context(), ath.NewTag())
	_, okay := s.Ready(t.Context())
	if len(all) != 2 || all[0].op != "session" || !errors.Is(all[0].err, err) || all[1] != (seen{"ready", nil}) || okay != nil {
		t.Fatalf("it saw %v", all)
	}
}

func TestReadySeesEviction(t *testing.T) {
	server := realredis.Start(t, "maxmemory 100mb", "maxmemory-policy allkeys-lru", "appendonly no")
	health, err := backend{url: server.URL(), keys: newKeyset(t)}.open(t).Ready(t.Context())
	noErr(t, err)
	if health.Evicts != "allkeys-lru" || health.Persistent {
		t.Fatalf("health is %+v", health)
	}
}
