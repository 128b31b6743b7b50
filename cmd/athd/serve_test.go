package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/tokenstore"
)

// A running athd, in this process, with the addresses that its log told.
type running struct {
	GRPC, HTTP, Admin string
	stop              context.CancelFunc
	done              chan error
	log               *locked.Buffer
}

func sources(m configtest.Machine) config.Sources {
	return config.Sources{Env: m.Env, ReadFile: m.ReadFile}
}

// start serves a configuration; port 0 everywhere unless it says otherwise.
func start(t *testing.T, parts map[string]string) *running {
	t.Helper()
	all := map[string]string{
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0'}", "drain_delay": "0s",
		"store": "{url: embedded, timeout: 5s}", // a busy machine is no store that is away
	}
	maps.Copy(all, parts)
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(all)), sources(configtest.NewMachine(t)))
	if faults != nil {
		t.Fatal(faults)
	}
	return startSettings(t, s)
}

func startSettings(t *testing.T, s *config.Settings) *running {
	t.Helper()
	s.Log.JSON = true
	r := &running{log: &locked.Buffer{}, done: make(chan error, 1)}
	log := newLogger(r.log, s.Log, nil)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.done <- serve(ctx, s, log, r.log, nil) }()
	t.Cleanup(func() {
		stop()
		<-r.done
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(r.log.String()) {
			var entry struct{ Msg, GRPC, HTTP, Admin string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving" {
				r.GRPC, r.HTTP, r.Admin = entry.GRPC, entry.HTTP, entry.Admin
				return r
			}
		}
	}
	t.Fatalf("athd does not serve:\n%s", r.log)
	return nil
}

// wait returns what serve returned.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err // for the cleanup
		return err
	case <-time.After(drainTime + time.Minute):
		t.Fatalf("athd does not end:\n%s", r.log)
		return nil
	}
}

func TestServingLineTellsThePortsThatWereGiven(t *testing.T) {
	r := start(t, nil)
	for _, at := range []string{r.GRPC, r.HTTP, r.Admin} {
		conn, err := net.DialTimeout("tcp", at, time.Minute)
		if err != nil || strings.HasSuffix(at, ":0") {
			t.Fatalf("%q: %v", at, err)
		}
		conn.Close()
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// N-1
func TestAthdGoesOnAnsweringWhileItSaysThatItGoes(t *testing.T) {
	const delay = 5 * time.Second // on a busy machine all that is asked takes a part of it
	r := start(t, map[string]string{"drain_delay": delay.String()})
	conn, err := grpc.NewClient(r.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	serving := func(service string) string {
		reply, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			return err.Error()
		}
		return reply.Status.String()
	}
	status := func(at, path string) int {
		resp, err := http.Get("http://" + at + path)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	authorization := authv3.Authorization_ServiceDesc.ServiceName
	if got := serving(authorization); got != "SERVING" || status(r.HTTP, "/ath/health") != 200 || status(r.Admin, "/readyz") != 200 {
		t.Fatalf("before: %s", got)
	}
	signaled := time.Now()
	r.stop()
	for status(r.Admin, "/readyz") != 503 {
		if time.Since(signaled) > delay {
			t.Fatal("/readyz still says ready")
		}
		time.Sleep(time.Millisecond)
	}
	for _, service := range []string{"", authorization} {
		if got := serving(service); got != "NOT_SERVING" {
			t.Errorf("gRPC health of %q says %s", service, got)
		}
	}
	if got := status(r.HTTP, "/ath/health"); got != 503 {
		t.Errorf("/ath/health answers %d", got)
	}
	// Who has not heard of it is answered: new connections, too.
	if got := status(r.HTTP, "/health"); got != 200 {
		t.Errorf("/health answers %d", got)
	}
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{}); err != nil {
		t.Errorf("a check: %v", err)
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if took := time.Since(signaled); took < delay {
		t.Errorf("athd ended after %v", took)
	}
}

func TestACompanionRequestUnderWayEndsBeforeAthdDoes(t *testing.T) {
	r := start(t, nil)
	conn, err := net.Dial("tcp", r.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server has taken the request, and waits for its body.
	io.WriteString(conn, "POST /ath/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	buf := make([]byte, 4096)
	if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 100") {
		t.Fatalf("%v, %s", err, buf[:n])
	}
	r.stop()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(r.log.String(), `"msg":"stopping"`); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("athd does not stop:\n%s", r.log)
		}
	}
	io.WriteString(conn, "{}")
	if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 400") {
		t.Errorf("the request was cut off: %v, %s", err, buf[:n])
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

func TestATakenPortStopsTheStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '" + l.Addr().String() + "'}",
	})), sources(configtest.NewMachine(t)))
	if faults != nil {
		t.Fatal(faults)
	}
	err = serve(t.Context(), s, slog.New(slog.DiscardHandler), io.Discard, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "listen.admin: ") {
		t.Errorf("got %v", err)
	}
}

func TestADeadListenerEndsAthd(t *testing.T) {
	for _, name := range []string{"grpc", "http", "admin"} {
		s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{
			"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0'}",
		})), sources(configtest.NewMachine(t)))
		if faults != nil {
			t.Fatal(faults)
		}
		quiet := slog.New(slog.DiscardHandler)
		a, err := assemble(s, quiet, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		l, err := openListeners(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		map[string]net.Listener{"grpc": l.grpc, "http": l.http, "admin": l.admin}[name].Close()
		ended := make(chan error, 1)
		go func() { ended <- a.serveListeners(t.Context(), s, l, quiet) }()
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "the "+name+" listener died") {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("athd lives on without its %s listener", name)
		}
		a.store.Close()
	}
}

func TestTheCompanionAsksForTheSameClientsAsGRPC(t *testing.T) {
	p := configtest.NewMachine(t)
	own := configtest.NewPKI(t)
	for name, text := range map[string]string{"cert": own.Cert, "key": own.Key, "ca": own.CA} {
		p.Files["/etc/athd/"+name+".pem"] = text
	}
	s, faults := config.Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0', tls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, client_sans: [envoy]}}",
	})), sources(p))
	if faults != nil {
		t.Fatal(faults)
	}
	r := startSettings(t, s)
	otherName, otherKey := own.Issue("somebody", 2 /* client auth */)
	stranger := configtest.NewPKI(t)
	for _, test := range []struct {
		name      string
		cert, key string
		want      bool
	}{
		{"Envoy's", own.ClientCert, own.ClientKey, true},
		{"none", "", "", false},
		{"another name's of the same CA", otherName, otherKey, false},
		{"another CA's", stranger.ClientCert, stranger.ClientKey, false},
	} {
		c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: own.Client(test.cert, test.key), ForceAttemptHTTP2: true,
		}}
		resp, err := c.Get("https://" + r.HTTP + "/health")
		if (err == nil) != test.want {
			t.Errorf("a client with the certificate %s: %v", test.name, err)
		}
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
				t.Errorf("%s over %s", resp.Status, resp.Proto)
			}
		}
		c.CloseIdleConnections()
		// gRPC: the handshake is what refuses.
		conn, err := tls.Dial("tcp", r.GRPC, withH2(own.Client(test.cert, test.key)))
		if err == nil {
			conn.SetDeadline(time.Now().Add(time.Minute))
			_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells a refused client at its first read
			conn.Close()
		}
		if (err == nil) != test.want {
			t.Errorf("a gRPC client with the certificate %s: %v", test.name, err)
		}
	}
}

func withH2(c *tls.Config) *tls.Config {
	c.NextProtos = []string{"h2"}
	return c
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	a := config.Address{Network: "unix", At: path}

	t.Run("one that was left behind is taken over, with mode 0660", func(t *testing.T) {
		old, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		old.(*net.UnixListener).SetUnlinkOnClose(false)
		old.Close()
		l, err := listen(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != socketMode {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
	t.Run("one that is answered is left alone", func(t *testing.T) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if other, err := listen(t.Context(), a); err == nil {
			other.Close()
			t.Error("it was taken over")
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
	t.Run("what is no socket is left alone", func(t *testing.T) {
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := listen(t.Context(), a); err == nil {
			l.Close()
			t.Error("it was taken over")
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
			t.Errorf("%q, %v", data, err)
		}
	})
	t.Run("its directory must exist", func(t *testing.T) {
		if l, err := listen(t.Context(), config.Address{Network: "unix", At: filepath.Join(t.TempDir(), "gone", "s.sock")}); err == nil {
			l.Close()
			t.Error("it listens nowhere")
		}
	})
}

func TestReadiness(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*readiness)
		want int
		text string
	}{
		{"all serve", func(*readiness) {}, 200, `"status": "ready"`},
		{"grpc does not", func(r *readiness) { r.grpc.Store(false) }, 503, "not_ready"},
		{"http does not", func(r *readiness) { r.http.Store(false) }, 503, "not_ready"},
		{"draining", func(r *readiness) { r.draining.Store(true) }, 503, "draining"},
		{"the store does not", func(r *readiness) {
			r.store = func(context.Context) (tokenstore.Health, error) {
				return tokenstore.Health{}, errors.New("dial redis.internal: hunter2")
			}
		}, 503, "the store does not answer"},
		{"the store may evict", func(r *readiness) {
			r.store = func(context.Context) (tokenstore.Health, error) {
				return tokenstore.Health{Server: "redis 7.0.15", Evicts: "allkeys-lru"}, nil
			}
		}, 200, "maxmemory-policy allkeys-lru"},
	} {
		r := serving()
		r.warnings = []string{"loud"}
		test.set(r)
		w := httptest.NewRecorder()
		r.serveHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if body := w.Body.String(); w.Code != test.want || !strings.Contains(body, test.text) || !strings.Contains(body, "loud") || strings.Contains(body, "hunter2") {
			t.Errorf("%s: %d\n%s", test.name, w.Code, body)
		}
	}
	if rep := new(readiness); rep.grpc.Load() || rep.http.Load() {
		t.Error("the zero value is ready")
	}
}

// serving is a readiness of which everything serves.
func serving() *readiness {
	r := &readiness{store: func(context.Context) (tokenstore.Health, error) {
		return tokenstore.Health{Server: "redis 7.0.15", Persistent: true}, nil
	}}
	r.grpc.Store(true)
	r.http.Store(true)
	return r
}

func TestNoLogLevelSilencesAuditEvents(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		var out bytes.Buffer
		c := config.LogSettings{Level: level}
		log := newLogger(&out, c, nil)
		events, err := newTrail(&out, &config.Settings{Log: c}, newMetrics(provider.NewProviders(&provider.Set{})), log)
		if err != nil {
			t.Fatal(err)
		}
		events.Record(t.Context(), audit.Event{Kind: audit.TokenRevoked})
		log.Info("chatter")
		if got := out.String(); !strings.Contains(got, "event=token_revoked") || strings.Contains(got, "chatter") != (level <= slog.LevelInfo) {
			t.Errorf("at level %v the log says %q", level, got)
		}
	}
}
