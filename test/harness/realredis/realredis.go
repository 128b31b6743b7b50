// Package realredis starts a real redis-server for a test: on a loopback port,
// behind a random password, with its data in a directory of the test's own. It
// can be stopped, killed, paused and started again at the same address, and
// dies with the test, also when the test is killed. Start at [Start]; there is
// also [StartTLS], [StartCluster], and [StartWatched] for Sentinel.
package realredis

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/test/harness/reserve"
)

// patience bounds each wait for the server: it starts in some 10 ms.
const patience = 30 * time.Second

// A Server is one redis-server that belongs to one test.
type Server struct {
	t        testing.TB
	binary   string
	dir      string
	addr     string
	password string
	extra    []string
	bus      string // of a cluster's node, the port at which others talk to it
	tls      *TLS   // nil: plaintext
	sentinel bool   // it is no store, but watches some

	process *exec.Cmd // nil: not running
	output  *output
}

// Start starts a server of version 7 or newer that writes to disk, so that it
// comes back with its data after [Server.Kill] and [Server.Start]. Each of
// extra is a further line of redis.conf, such as "maxmemory 100mb".
//
// Where no redis-server is found the test fails, unless ATHD_TEST_SKIP names
// redis: then it is skipped.
func Start(t testing.TB, extra ...string) *Server {
	t.Helper()
	return start(t, Server{password: rand.Text(), extra: extra})
}

// start starts the server that s describes by its password, extra, tls and
// sentinel.
func start(t testing.TB, like Server) *Server {
	t.Helper()
	binary := find(t)
	// Not t.TempDir: files that a killed server still writes would fail the
	// test at its end.
	dir, err := os.MkdirTemp("", "athd-redis-")
	if err != nil {
		t.Fatal(err)
	}
	s := &like
	s.t, s.binary, s.dir = t, binary, dir
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	s.addr = reserve.Addr(t)
	if err = s.run(); err != nil {
		t.Fatalf("redis-server does not start: %v", err)
	}
	return s
}

// URL is the server's address with its password.
func (s *Server) URL() string {
	scheme := "redis"
	if s.tls != nil {
		scheme = "rediss"
	}
	return fmt.Sprintf("%s://:%s@%s/0", scheme, s.password, s.addr)
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return s.addr }

// Password is the password of the default user.
func (s *Server) Password() string { return s.password }

// Start starts the server again at the same address, with the data that it
// had. It returns when the server answers.
func (s *Server) Start() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("redis-server runs already")
	}
	if err := s.run(); err != nil {
		s.t.Fatalf("redis-server does not start again: %v", err)
	}
}

// StartReplica starts a replica of a server that stands alone, and returns when
// it has caught up.
func StartReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replica := start(t, Server{password: master.password, tls: master.tls, extra: replicaConf(master)})
	replica.awaitLink(ctx)
	return replica
}

func replicaConf(master *Server) []string {
	host, port, _ := net.SplitHostPort(master.addr)
	return []string{"masterauth " + master.password, "repl-diskless-sync-delay 0", "replicaof " + host + " " + port}
}

// StartAsReplica is [Server.Start] for a server that comes back as a replica of
// another.
func (s *Server) StartAsReplica(of *Server) {
	s.t.Helper()
	s.extra = replicaConf(of)
	s.Start()
}

// Stop ends the server in good order.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server at once, as a crash does, also when it is paused.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Pause freezes the server: it still has its connections, and the kernel
// accepts new ones, but nothing answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// LoseDisk takes the server's data directory away, so that nothing can be
// saved any more.
func (s *Server) LoseDisk() {
	s.t.Helper()
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

// Client returns a plain client, closed with the test.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(s.options())
	s.t.Cleanup(func() { client.Close() })
	return client
}

func (s *Server) options() *redis.Options {
	return &redis.Options{Addr: s.addr, Password: s.password, Protocol: 2, DisableIdentity: true, TLSConfig: s.tls.client(s.t)}
}

func (s *Server) conf() string {
	conf := []string{
		"bind 127.0.0.1", "requirepass " + s.password, "dir " + s.dir, "daemonize no",
	}
	port := s.addr[strings.LastIndex(s.addr, ":")+1:]
	if s.tls != nil {
		clients := "tls-auth-clients no"
		if s.tls.AuthClients {
			clients = "tls-auth-clients yes"
		}
		conf = append(conf, "port 0", "tls-port "+port, clients, "tls-replication yes", "tls-cluster yes",
			"tls-cert-file "+s.tls.CertFile, "tls-key-file "+s.tls.KeyFile, "tls-ca-cert-file "+s.tls.CAFile)
	} else {
		conf = append(conf, "port "+port)
	}
	if !s.sentinel {
		// What is written reaches the kernel before it is acknowledged, and so
		// survives the death of the process.
		// "no": each reply comes after its write has gone to the kernel, so that
		// nothing is lost by killing the process. With "everysec" a busy disk
		// may keep writes in the process for two seconds.
		conf = append(conf, "appendonly yes", "appendfsync no", `save ""`, "databases 16")
	}
	if s.bus != "" {
		conf = append(conf, "cluster-enabled yes", "cluster-port "+s.bus, "cluster-node-timeout 5000", "masterauth "+s.password, "repl-diskless-sync-delay 0")
	}
	return strings.Join(append(conf, s.extra...), "\n") + "\n"
}

func (s *Server) run() error {
	s.output = &output{}
	if s.sentinel { // it writes into its own file
		path := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(path, []byte(s.conf()), 0o600); err != nil {
			return err
		}
		s.process = exec.Command(s.binary, path, "--sentinel")
	} else {
		s.process = exec.Command(s.binary, "-") // the configuration is on stdin: no password in the process list
		s.process.Stdin = strings.NewReader(s.conf())
	}
	s.process.Dir = s.dir
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.SysProcAttr = dieWithParent()
	s.process.WaitDelay = time.Second // should something still hold the output open
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	if err := s.await(); err != nil {
		s.Kill()
		return fmt.Errorf("%w\n%s", err, s.output)
	}
	return nil
}

// await returns when the server answers with our password and has loaded its
// data: the same port might belong to somebody else.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	options := s.options()
	options.MaxRetries, options.DialerRetries = -1, 1
	client := redis.NewClient(options)
	defer client.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// Dialling first keeps the client from complaining on stderr.
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			conn.Close()
			if err = client.Ping(ctx).Err(); err == nil {
				return checkVersion(client.Info(ctx, "server").Val())
			}
		}
		if strings.Contains(s.output.String(), "Failed listening") || strings.Contains(s.output.String(), "FATAL") {
			return fmt.Errorf("redis-server gave up")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

func checkVersion(info string) error {
	_, version, _ := strings.Cut(info, "redis_version:")
	version, _, _ = strings.Cut(version, "\r\n")
	var major int
	if _, err := fmt.Sscanf(version, "%d.", &major); err != nil || major < 7 {
		return fmt.Errorf("redis-server has version %q; 7 or newer is needed", version)
	}
	return nil
}

func (s *Server) end(how syscall.Signal) {
	if s.process == nil {
		return
	}
	s.process.Process.Signal(how)
	s.process.Process.Signal(syscall.SIGCONT) // a paused one would not hear SIGTERM
	s.process.Wait()
	s.process = nil
}

func (s *Server) signal(what syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("redis-server does not run")
	}
	if err := s.process.Process.Signal(what); err != nil {
		s.t.Fatal(err)
	}
}

// find looks where `make test` puts the server, then on PATH.
func find(t testing.TB) string {
	t.Helper()
	var places []string
	if tools := os.Getenv("ATHD_TOOLS"); tools != "" {
		places = append(places, tools)
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			places = append(places, filepath.Join(dir, ".tools", "bin"))
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, place := range places {
		if found, err := exec.LookPath(filepath.Join(place, "redis-server")); err == nil {
			return found
		}
	}
	if found, err := exec.LookPath("redis-server"); err == nil {
		return found
	}
	for part := range strings.SplitSeq(os.Getenv("ATHD_TEST_SKIP"), ",") {
		if strings.TrimSpace(part) == "redis" {
			t.Skip("no redis-server, and ATHD_TEST_SKIP names redis")
		}
	}
	t.Fatal("no redis-server found: run `make test`, which fetches one")
	return ""
}

// output collects what the server prints, for the error that says why it did
// not start.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() > 1<<20 {
		return len(p), nil
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
