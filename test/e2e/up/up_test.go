// Package up runs athd up with a real Envoy: what one of both does when the
// other ends, or when they are told to end.
package up

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/internal/ports"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// A running is athd up with its Envoy, in front of an API that people share.
type running struct {
	*stage.Up
	t         *testing.T
	dir       string
	public    string // host:port
	addresses []string
	envoy     int // its process id
	api       *stage.Upstream
}

// start runs both; publicURL is "" for Envoy's own address.
func start(t *testing.T, publicURL string) *running {
	t.Helper()
	r := prepare(t, publicURL)
	r.Up = stage.StartUp(t, r.dir, "ATHD_ENVOY="+realenvoy.Binary(t))
	r.Says("Ctrl-C ends both.")
	r.envoy = r.child()
	return r
}

// prepare writes athd.yaml.
func prepare(t *testing.T, publicURL string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), api: stage.StartUpstream(t, nil)}
	for range 4 {
		r.addresses = append(r.addresses, reserve.Addr(t))
	}
	r.public = r.addresses[0]
	config := fmt.Sprintf(`
public_url: %s
listen: {grpc: "unix:%s/authz.sock", http: %q, admin: %q}
store: {url: embedded}
approval: {default: review}
envoy: {listen: %q, admin: %q}
apps:
  - app_id: shop
    upstream: %s
    unauthenticated: passthrough
    available_scopes: ["products:read"]
    oauth: {authorize_endpoint: https://l.example.com/a, token_endpoint: https://l.example.com/t, client_id: a, client_secret: b}
`, cmp.Or(publicURL, "http://"+r.public), r.dir, r.addresses[1], r.addresses[2], r.public, r.addresses[3], r.api.URL)
	if err := os.WriteFile(filepath.Join(r.dir, "athd.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// child is the one process that athd has started.
func (r *running) child() int {
	r.t.Helper()
	var children []int
	for _, p := range processes(r.t) {
		if p.parent != r.PID() {
			continue
		}
		children = append(children, p.id)
		if p.group != r.PID() {
			r.t.Errorf("Envoy is in process group %d, and athd in %d", p.group, r.PID())
		}
	}
	if len(children) != 1 {
		r.t.Fatalf("athd has the children %v, want Envoy alone", children)
	}
	return children[0]
}

// gone wants both to have ended, with nothing left behind.
func (r *running) gone() {
	r.t.Helper()
	eventually(r.t, "Envoy's end", func() bool { return !runs(r.t, r.envoy) })
	for _, address := range r.addresses {
		eventually(r.t, address+" to be free", func() bool { return ports.Free(address) })
	}
}

func eventually(t *testing.T, what string, there func() bool) {
	t.Helper()
	const patience = time.Minute // however busy the machine is
	for deadline := time.Now().Add(patience); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestASignalEndsBoth(t *testing.T) {
	for name, c := range map[string]struct {
		press  func(*running)
		cutOff bool // Envoy gets the signal too, and lets no call end
	}{
		"Ctrl-C":          {func(r *running) { r.Press(syscall.SIGINT) }, true},
		"SIGTERM to athd": {func(r *running) { r.Signal(syscall.SIGTERM) }, false},
		"a closed window": {func(r *running) { r.Press(syscall.SIGHUP) }, false}, // Envoy ignores it
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, "")
			c.press(r)
			if code := r.Ends(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if said := r.Printed(); !strings.Contains(said, "\nboth have ended\n") || strings.Contains(said, "Envoy ended") {
				t.Errorf("it printed\n%s", said)
			} else if got := strings.Contains(said, "\ncalls that were still under way, if any, were cut off"); got != c.cutOff {
				t.Errorf("it says that calls were cut off: %v, want %v\n%s", got, c.cutOff, said)
			}
			r.gone()
		})
	}
}

func TestEnvoysEndIsAthdsEnd(t *testing.T) {
	r := start(t, "")
	if err := syscall.Kill(r.envoy, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.Ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if said := r.Printed(); !strings.Contains(said, "athd: Envoy ended (signal: killed)") || !strings.Contains(said, ".athd/envoy.log") {
		t.Errorf("it printed\n%s", said)
	}
	r.gone()
}

func TestACallUnderWayEndsBeforeEnvoyDoes(t *testing.T) {
	r := start(t, "")
	under, release := make(chan struct{}), make(chan struct{})
	r.api.Serve("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(under)
		<-release
		fmt.Fprint(w, "the whole answer")
	})
	type answer struct {
		resp *http.Response
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := http.Get("http://" + r.public + "/slow")
		answered <- answer{resp, err}
	}()
	<-under
	r.Signal(syscall.SIGTERM)
	eventually(t, "no new connection to be taken", func() bool {
		conn, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", r.public)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	a := <-answered
	if a.err != nil || a.resp.StatusCode != http.StatusOK {
		t.Errorf("the call under way: %v %v", a.resp, a.err)
	}
	if a.err == nil {
		a.resp.Body.Close()
	}
	if code := r.Ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.gone()
}

func TestASecondAthdOnTheSamePortsSaysWhoHasThem(t *testing.T) {
	r := start(t, "")
	second := exec.CommandContext(t.Context(), stage.Binary(t), "up", "--envoy", realenvoy.Binary(t))
	second.Dir = r.dir
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Envoy cannot listen at "+r.public+" (envoy.listen): another program listens there already\nnext: end that program") {
		t.Errorf("%v\n%s", err, out)
	}
	if !runs(t, r.envoy) {
		t.Error("the first one has ended")
	}
}

// What is in front of Envoy may come later, or not let this machine in.
func TestAPublicURLThatIsElsewhereIsNotWaitedFor(t *testing.T) {
	r := start(t, "https://gateway.invalid")
	if said := r.Printed(); !strings.Contains(said, "\nready, ") || !strings.Contains(said, "\nnote: seen from here, ") || !strings.Contains(said, "https://gateway.invalid") {
		t.Errorf("it printed\n%s", said)
	}
	resp, err := http.Get("http://" + r.public + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	r.Press(syscall.SIGINT)
	if code := r.Ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.gone()
}

func TestAnAthdThatCannotListenIsTheEndOfBoth(t *testing.T) {
	r := prepare(t, "")
	taken, err := net.Listen("tcp", r.addresses[1])
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.Up = stage.StartUp(t, r.dir, "ATHD_ENVOY="+realenvoy.Binary(t))
	if code := r.Ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if said := r.Printed(); !strings.Contains(said, "athd cannot listen: listen.http: ") || !strings.Contains(said, r.addresses[1]) {
		t.Errorf("it printed\n%s", said)
	}
	taken.Close()
	for _, address := range r.addresses {
		eventually(t, address+" to be free", func() bool { return ports.Free(address) })
	}
}

// An Envoy that does not even say its version, as a script before the real one.
func TestASignalEndsAthdBeforeEnvoyIsStarted(t *testing.T) {
	r := prepare(t, "")
	hangs := filepath.Join(r.dir, "hangs")
	if err := os.WriteFile(hangs, []byte("#!/bin/sh\necho $$ >asked\nsleep 20; :\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.Up = stage.StartUp(t, r.dir, "ATHD_ENVOY="+hangs)
	eventually(t, "the question for its version", func() bool { _, err := os.Stat(filepath.Join(r.dir, "asked")); return err == nil })
	r.Signal(syscall.SIGTERM)
	if code := r.Ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if said := r.Printed(); !strings.Contains(said, "\nstopped before anything was started\n") || strings.Contains(said, "killed") {
		t.Errorf("it printed\n%s", said)
	}
}
