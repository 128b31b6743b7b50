package tokenstore_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What the package documentation says that an ACL user needs, on any server
// and on top of it.
const (
	aclUser   = aclQuiet + " +publish +subscribe &ath:*"
	aclQuiet  = aclBefore + " +wait +role" // nobody is notified of changes
	aclBefore = "user athd on >" + password + " ~ath:* +ping +get +mget +set +del +exists +pttl +pexpire" +
		" +zadd +zrem +zremrangebyscore +zcard +zrange +scan +eval +evalsha +hello +client|setname"
	aclCluster = " +cluster|slots +command"
)

// TestACL holds that the permissions in the package documentation suffice, and
// that another password is unavailable, not empty.
func TestACL(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, change func(*tokenstore.Config)){
		"standalone": func(t *testing.T) (string, func(*tokenstore.Config)) {
			return "redis://athd:PASSWORD@" + realredis.Start(t, aclUser).Addr(), nil
		},
		// F-1: whoever upgrades with the ACL of before goes on, with a warning.
		"as it was before WAIT and ROLE": func(t *testing.T) (string, func(*tokenstore.Config)) {
			return "redis://athd:PASSWORD@" + realredis.Start(t, aclBefore).Addr(), nil
		},
		"as it was before the change feed": func(t *testing.T) (string, func(*tokenstore.Config)) {
			return "redis://athd:PASSWORD@" + realredis.Start(t, aclQuiet).Addr(), nil
		},
		"cluster": func(t *testing.T) (string, func(*tokenstore.Config)) {
			nodes := realredis.StartCluster(t, 2, aclUser+aclCluster)
			return "redis+cluster://athd:PASSWORD@" + nodes[1].Addr(), nil
		},
		"Sentinel, waiting for a replica": func(t *testing.T) (string, func(*tokenstore.Config)) {
			w := realredis.StartWatched(t, 1, aclUser)
			return strings.Replace(w.URL(), ":"+w.Servers[0].Password()+"@", "athd:PASSWORD@", 1), func(c *tokenstore.Config) {
				c.SentinelPassword, c.WaitReplicas = ath.NewSecret(w.SentinelPassword), 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, change := start(t)
			if change == nil {
				change = func(*tokenstore.Config) {}
			}
			b := backend{url: strings.Replace(url, "PASSWORD", password, 1), keys: newKeyset(t)}
			s := b.revoking(t, &policy{}, change)
			entries, err := s.DueRevocations(t.Context(), 1)
			if err != nil || len(entries) != 0 {
				t.Errorf("due is %v, %v", entries, err)
			}
			noErr(t, s.WakeRevocations(t.Context(), "u1"))
			for name, do := range verbs(t, s) {
				if err := do(t.Context(), s); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			health, err := s.Ready(t.Context())
			noErr(t, err)
			equal(t, health, tokenstore.Health{Server: "redis", Unproven: name == "as it was before WAIT and ROLE"})
			before := strings.HasPrefix(name, "as it was before")
			until(t, "the feed knows what it may", func() bool {
				f := s.Feed()
				return f.Notified != before && f.Forbidden == before && !f.Current.IsZero()
			})

			b.url = strings.Replace(url, "PASSWORD", "wrong-"+password, 1)
			_, err = b.open(t, change).Session(t.Context(), ath.NewTag())
			wantErr(t, err, tokenstore.ErrUnavailable)
			if strings.Contains(err.Error(), password) {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

// F-4. A server with redis-server's own default wants a certificate of each
// client.
func TestAServerThatWantsCertificatesOfItsClients(t *testing.T) {
	authority, stranger := realenvoy.NewAuthority(t), realenvoy.NewAuthority(t)
	cert, key := authority.Issue("127.0.0.1")
	files := realredis.TLS{CertFile: cert, KeyFile: key, CAFile: authority.CAFile, AuthClients: true}
	mine, foreign := authority.Certificate("athd.example"), stranger.Certificate("athd.example")
	for name, start := range map[string]func(t *testing.T) (url string, change func(*tokenstore.Config)){
		"standalone": func(t *testing.T) (string, func(*tokenstore.Config)) {
			return realredis.StartTLS(t, files).URL(), func(*tokenstore.Config) {}
		},
		"cluster": func(t *testing.T) (string, func(*tokenstore.Config)) {
			nodes := realredis.StartClusterTLS(t, 2, files)
			return "rediss+cluster://:" + nodes[0].Password() + "@" + nodes[1].Addr(), func(*tokenstore.Config) {}
		},
		"Sentinel": func(t *testing.T) (string, func(*tokenstore.Config)) {
			w := realredis.StartWatchedTLS(t, 1, files)
			return w.URL(), func(c *tokenstore.Config) { c.SentinelPassword = ath.NewSecret(w.SentinelPassword) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, change := start(t)
			b := backend{url: url, keys: newKeyset(t)}
			with := func(certificate *tls.Certificate) *tokenstore.Store {
				return b.open(t, change, func(c *tokenstore.Config) { c.CAs, c.Certificate = authority.Pool(), certificate })
			}
			s := with(&mine)
			for name, do := range verbs(t, s) {
				if err := do(t.Context(), s); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			for name, certificate := range map[string]*tls.Certificate{"no certificate": nil, "another CA's": &foreign} {
				_, err := with(certificate).Ready(t.Context())
				wantErr(t, err, tokenstore.ErrUnavailable)
				if reason := tokenstore.Reason(err); name == "no certificate" && !strings.Contains(reason, "client certificate") && !strings.Contains(reason, "ends connections") {
					t.Errorf("with %s the reason is %q (%v)", name, reason, err)
				}
			}
		})
	}
}

func TestStoreOverTLSChecksBothSides(t *testing.T) {
	authority, stranger := realenvoy.NewAuthority(t), realenvoy.NewAuthority(t)
	cert, key := authority.Issue("127.0.0.1")
	server := realredis.StartTLS(t, realredis.TLS{CertFile: cert, KeyFile: key, CAFile: authority.CAFile}, aclUser)
	url := "://athd:" + password + "@" + server.Addr()
	trusting := func(file string) func(*tokenstore.Config) {
		pem, err := os.ReadFile(file)
		noErr(t, err)
		cas := x509.NewCertPool()
		cas.AppendCertsFromPEM(pem)
		return func(c *tokenstore.Config) { c.CAs = cas }
	}
	t.Run("with its CA every verb works", func(t *testing.T) {
		s := backend{url: "rediss" + url, keys: newKeyset(t)}.open(t, trusting(authority.CAFile))
		for name, do := range verbs(t, s) {
			if err := do(t.Context(), s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	for name, s := range map[string]*tokenstore.Store{
		"with another CA":    backend{url: "rediss" + url, keys: newKeyset(t)}.open(t, trusting(stranger.CAFile)),
		"with the system's":  backend{url: "rediss" + url, keys: newKeyset(t)}.open(t),
		"without TLS at all": backend{url: "redis" + url, keys: newKeyset(t)}.open(t),
		"by a name that its certificate lacks": backend{
			url: "rediss" + strings.Replace(url, "127.0.0.1", "localhost", 1), keys: newKeyset(t),
		}.open(t, trusting(authority.CAFile)),
	} {
		t.Run(name+" it is unavailable", func(t *testing.T) {
			_, err := s.Ready(t.Context())
			wantErr(t, err, tokenstore.ErrUnavailable)
		})
	}
}
