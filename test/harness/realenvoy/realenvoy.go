// Package realenvoy starts a real Envoy for a test: on ports that the system
// chooses, ready when [Start] returns, gone when the test ends, its logs shown
// when the test fails.
package realenvoy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const startTimeout = time.Minute

// Binary returns the path of Envoy: $ATHD_TOOLS/envoy, .tools/bin/envoy of the
// checkout, or the one on PATH. Without any the test fails, unless
// ATHD_TEST_SKIP (a list with commas) names envoy, which skips it.
func Binary(t testing.TB) string {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ATHD_TEST_SKIP"), ","), "envoy") {
		t.Skip("ATHD_TEST_SKIP names envoy")
	}
	var candidates []string
	if dir := os.Getenv("ATHD_TOOLS"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "envoy"))
	}
	if root := checkout(); root != "" {
		candidates = append(candidates, filepath.Join(root, ".tools", "bin", "envoy"))
	}
	for _, c := range append(candidates, "envoy") {
		if path, err := exec.LookPath(c); err == nil {
			return path
		}
	}
	t.Fatal("there is no Envoy: run make test, which fetches it, or name envoy in ATHD_TEST_SKIP")
	return ""
}

// checkout returns the folder of go.mod above the test's, or "".
func checkout() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return ""
}

// Validate asks Envoy whether it would take this configuration, and fails the
// test with its words if not.
func Validate(t testing.TB, config []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, Binary(t), "--mode", "validate", "-l", "warning",
		"--disable-hot-restart", "-c", write(t, config)).CombinedOutput()
	if err != nil {
		t.Fatalf("Envoy refuses the configuration: %v\n%s", err, out)
	}
}

func write(t testing.TB, config []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An Envoy is a running Envoy.
type Envoy struct {
	t         testing.TB
	admin     string // host:port
	listeners map[string]string
	access    lines // standard output
	logs      lines // standard error
	cmd       *exec.Cmd
	exited    chan struct{}
	stop      sync.Once
}

// Start runs Envoy on this configuration, which must have an admin address,
// preferably with port 0, as its listeners. It returns when Envoy is live. The
// access log must go to standard output.
func Start(t testing.TB, config []byte) *Envoy {
	t.Helper()
	path := write(t, config)
	adminPath := filepath.Join(filepath.Dir(path), "admin")
	e := &Envoy{t: t, exited: make(chan struct{}), cmd: exec.Command(Binary(t), "-c", path,
		"--admin-address-path", adminPath, "--disable-hot-restart", "--concurrency", "1",
		"--file-flush-interval-msec", "5", "-l", "warning")}
	e.cmd.Stdout, e.cmd.Stderr = &e.access, &e.logs
	e.cmd.SysProcAttr = diesWithParent()
	if err := e.cmd.Start(); err != nil {
		t.Fatalf("start Envoy: %v", err)
	}
	go func() {
		e.cmd.Wait()
		close(e.exited)
	}()
	t.Cleanup(func() {
		e.Stop()
		if t.Failed() {
			t.Logf("Envoy's log:\n%s\nits access log:\n%s", &e.logs, &e.access)
		}
	})
	if err := e.waitLive(adminPath); err != nil {
		t.Fatalf("Envoy does not start: %v\n%s", err, &e.logs)
	}
	return e
}

// Stop ends Envoy at once. Ending the test does the same.
func (e *Envoy) Stop() {
	e.stop.Do(func() {
		e.cmd.Process.Kill()
		<-e.exited
	})
}

// Addr returns host:port of a listener. One that listens on every interface is
// reached on loopback.
func (e *Envoy) Addr(listener string) string {
	e.t.Helper()
	addr, ok := e.listeners[listener]
	if !ok {
		e.t.Fatalf("Envoy has no listener %q", listener)
	}
	return addr
}

// Admin returns what Envoy's admin pages say, such as Admin("/stats").
func (e *Envoy) Admin(path string) string {
	e.t.Helper()
	body, err := e.get(path)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(body)
}

// PID is Envoy's process id.
func (e *Envoy) PID() int { return e.cmd.Process.Pid }

// AdminURL is where Envoy's admin pages are.
func (e *Envoy) AdminURL() string { return "http://" + e.admin }

// AccessLog returns the lines of the access log so far. A request's line may
// come some milliseconds after its reply.
func (e *Envoy) AccessLog() []string { return e.access.all() }

// Log returns Envoy's own log so far.
func (e *Envoy) Log() string { return e.logs.String() }

// WaitAccessLog returns the first line of the access log that holds all of
// these, and fails the test if none comes.
func (e *Envoy) WaitAccessLog(parts ...string) string {
	e.t.Helper()
	found := ""
	err := poll(startTimeout, func() error {
		for _, line := range e.AccessLog() {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
				found = line
				return nil
			}
		}
		return errors.New("no such line")
	})
	if err != nil {
		e.t.Fatalf("the access log has no line with %q:\n%s", parts, &e.access)
	}
	return found
}

func (e *Envoy) waitLive(adminPath string) error {
	return poll(startTimeout, func() error {
		select {
		case <-e.exited:
			return errStop{errors.New("it ended: " + e.cmd.ProcessState.String())}
		default:
		}
		addr, err := os.ReadFile(adminPath)
		if err != nil {
			return err
		}
		e.admin = strings.TrimSpace(string(addr))
		if _, err := e.get("/ready"); err != nil {
			return err
		}
		return e.readListeners()
	})
}

func (e *Envoy) readListeners() error {
	body, err := e.get("/listeners?format=json")
	if err != nil {
		return err
	}
	var reply struct {
		Statuses []struct {
			Name    string
			Address struct {
				Socket struct {
					Address string
					Port    int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return err
	}
	e.listeners = map[string]string{}
	for _, s := range reply.Statuses {
		host := s.Address.Socket.Address
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		e.listeners[s.Name] = net.JoinHostPort(host, strconv.Itoa(s.Address.Socket.Port))
	}
	return nil
}

// get asks the admin pages. Every answer but 200 is an error.
func (e *Envoy) get(path string) ([]byte, error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + e.admin + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(path + ": " + r.Status)
	}
	return body, err
}

// errStop ends a poll early.
type errStop struct{ error }

// poll tries until it succeeds or the time is over.
func poll(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		var stop errStop
		if err == nil || errors.As(err, &stop) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lines collects output. It is safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) all() []string {
	return strings.FieldsFunc(l.String(), func(r rune) bool { return r == '\n' })
}
