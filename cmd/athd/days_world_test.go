package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/tokenstore"
)

const day = 24 * time.Hour

// days are a whole athd on the embedded store, an OAuth server, and agents, whose
// time is one clock that the test moves.
type days struct {
	t         *testing.T
	began     time.Time
	passed    atomic.Int64 // nanoseconds
	public    string
	provider  *clockedServer
	site      *httptest.Server // of identity documents
	documents *http.ServeMux
	checks    authv3.AuthorizationClient
	http      *http.Client
	athd      *assembly
	log       *locked.Buffer
}

func (d *days) now() time.Time { return d.began.Add(time.Duration(d.passed.Load())) }

// newDays starts them, on a Monday at nine.
func newDays(t *testing.T, upstreamIdle time.Duration, renewal string) *days {
	t.Helper()
	d := &days{
		t: t, began: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), documents: http.NewServeMux(), log: &locked.Buffer{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	t.Cleanup(d.http.CloseIdleConnections)
	d.provider = newClockedServer(t, d.now, time.Hour, upstreamIdle)
	d.site = httptest.NewServer(d.documents)
	t.Cleanup(d.site.Close)
	listen, grpcAt := reserve.Addr(t), reserve.Addr(t)
	d.public = "http://" + listen

	m := configtest.NewMachine(t)
	m.Files["/etc/athd/providers.json"] = fmt.Sprintf(`{"shop": {"display_name": "Shop", "available_scopes": ["products:read"],
		"authorize_endpoint": "%[1]s/authorize", "token_endpoint": "%[1]s/token", "userinfo_endpoint": "%[1]s/userinfo", "revocation_endpoint": "%[1]s/revoke",
		"api_base_url": "https://api.shop.example", "client_id": "athd", "client_secret": "client-secret-of-athd",
		"scope_rules": [{"scope": "products:read", "methods": ["GET"], "paths": ["/products/**"]}]}}`, d.provider.URL)
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{
		"public_url":  d.public,
		"listen":      fmt.Sprintf("{grpc: '%s', http: '%s', admin: '127.0.0.1:0'}", grpcAt, listen),
		"approval":    "{default: approve, rules: [{agents: ['**'], action: approve, expires: 400d}]}",
		"tokens":      "{ttl: 1h, renewal: " + renewal + "}",
		"admin":       "{tokens: [{name: ops, token_file: admin.token, role: admin}]}",
		"limits":      "{per_address: off, registrations_per_address: off, per_agent: off}",
		"drain_delay": "0s",
		"development": "{allow_http: true, allow_private_hosts: true}",
	})), sources(m))
	if faults != nil {
		t.Fatal(faults)
	}
	s.Log.JSON = true
	s.Store.Now = d.now
	s.Store.Timeout = 5 * time.Second // a busy machine is not what is tested here
	d.serve(s)
	conn, err := grpc.NewClient(grpcAt, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d.checks = authv3.NewAuthorizationClient(conn)
	return d
}

func (d *days) serve(s *config.Settings) {
	ctx, stop := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan *assembly, 1)
	go func() {
		done <- serve(ctx, s, newLogger(d.log, s.Log, nil), d.log, func(a *assembly) {
			a.vault.Every = time.Millisecond // of the machine's time
			ready <- a
		})
	}()
	d.t.Cleanup(func() {
		stop()
		<-done
		if !d.t.Failed() {
			return
		}
		for line := range strings.Lines(d.log.String()) {
			if strings.Contains(line, `"WARN"`) || strings.Contains(line, `"ERROR"`) {
				d.t.Log(line)
			}
		}
	})
	select {
	case d.athd = <-ready:
	case err := <-done:
		done <- err
		d.t.Fatalf("athd does not start: %v\n%s", err, d.log)
	}
	d.until("athd serves", func() bool { return d.athd.ready.http.Load() })
}

// pass lets time pass, and waits until athd has looked at all that stands, and has
// used what is due.
func (d *days) pass(by time.Duration) {
	d.t.Helper()
	d.passed.Add(int64(by))
	d.until("athd has looked", func() bool {
		due, err := d.athd.store.KeepDue(d.t.Context(), tokenstore.KeepStanding, d.now(), 0, 1)
		if err != nil {
			d.t.Fatal(err)
		}
		return len(due) == 0
	})
}

func (d *days) until(what string, done func() bool) {
	d.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			d.t.Fatalf("day %d: never: %s\n%s", d.now().Sub(d.began)/day, what, d.log)
		}
	}
}

// operate is what an operator sends.
func (d *days) operate(path string, body any) {
	d.t.Helper()
	token := configtest.NewMachine(d.t).Files["/etc/athd/admin.token"]
	a := d.post(path, body, http.Header{"X-Ath-User-Token": {token[:len(token)-1]}})
	if a.status != http.StatusOK {
		d.t.Fatalf("the operator's %s: %d %s", path, a.status, a.code)
	}
}
