package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/tokenstore"
)

// Replicas are several athd on one store, which publish one URL, as replicas behind a
// load balancer do. Each has a folder of its own, below the one that holds what they
// share. The test says how they are configured, and starts them and their Envoys: what
// it needs beside them, and in which order, is its own. All of it ends with the test,
// which fails if a secret that passed through stands in one of their logs.
type Replicas struct {
	// Dir has keyset.json, admin.token (of an operator whose token is [AdminKey]), and
	// what the test writes there.
	Dir    string
	Keyset *tokenstore.Keyset
	// Public is host:port of the URL that they publish, the first Envoy's; "" without one.
	Public string

	// Of each athd.
	Home  []string // its folder, with athd.yaml
	GRPC  []string // where Envoy asks it
	HTTP  []string // host:port of its companion
	Admin []string // host:port
	Athd  []*Athd  // nil before Start

	// Of each Envoy.
	At    []string           // host:port
	Envoy []*realenvoy.Envoy // nil before StartEnvoy

	// Client is for calls through Envoy; it shows replies as they are.
	Client *http.Client

	t testing.TB
}

// NewReplicas prepares some athd and some Envoys. All athd share one Envoy, or each has
// the one of its number.
func NewReplicas(t testing.TB, athds, envoys int) *Replicas {
	t.Helper()
	dir, err := os.MkdirTemp("", "athd-e2e-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	by := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(by.CloseIdleConnections)
	r := &Replicas{
		Dir: dir, Keyset: NewKeyset(t, filepath.Join(dir, "keyset.json")), Envoy: make([]*realenvoy.Envoy, envoys), t: t,
		Client: &http.Client{Transport: by, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	watch := leak.Of(t)
	watch.Secret("athd's client secret", Secret)
	watch.Secret("the operator's token", AdminKey)
	r.Write("admin.token", AdminKey, nil)
	for range envoys {
		r.At = append(r.At, reserve.Addr(t))
		r.Public = r.At[0]
	}
	for range athds {
		r.Join()
	}
	t.Cleanup(r.findLeaks)
	return r
}

// Join prepares one more athd, and returns its number.
func (r *Replicas) Join() (i int) {
	r.t.Helper()
	i = len(r.Home)
	home := filepath.Join(r.Dir, string(rune('a'+i)))
	if err := os.Mkdir(home, 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.Home, r.GRPC = append(r.Home, home), append(r.GRPC, "unix:"+filepath.Join(home, "authz.sock"))
	r.HTTP, r.Admin = append(r.HTTP, reserve.Addr(r.t)), append(r.Admin, reserve.Addr(r.t))
	r.Athd = append(r.Athd, nil)
	return i
}

// Write writes a file that they share; values, if there are any, fill it as a template.
func (r *Replicas) Write(name, text string, values map[string]any) {
	r.t.Helper()
	if values != nil {
		text = fill(r.t, text, values)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// Configure writes the athd.yaml of one athd, a template with these values and its own:
// Public, GRPC, HTTP, Admin, Envoy (where that listens), Secret; GRPCs and HTTPs are
// lists of all.
func (r *Replicas) Configure(i int, configuration string, values map[string]any) {
	r.t.Helper()
	all := map[string]any{"Public": r.Public, "GRPC": r.GRPC[i], "HTTP": r.HTTP[i], "Admin": r.Admin[i], "GRPCs": List(r.GRPC), "HTTPs": List(r.HTTP), "Secret": Secret}
	if len(r.At) > 0 {
		all["Envoy"] = r.At[min(i, len(r.At)-1)]
	}
	maps.Copy(all, values)
	r.Write(filepath.Join(filepath.Base(r.Home[i]), "athd.yaml"), configuration, all)
}

// List writes texts as YAML.
func List(texts []string) string { return `["` + strings.Join(texts, `", "`) + `"]` }

// Start starts one athd, also after it has ended, and returns when it is ready.
func (r *Replicas) Start(i int) {
	r.t.Helper()
	r.Athd[i] = StartAthd(r.t, r.Home[i], r.Admin[i])
}

// StartOlder is [Replicas.Start] with the binary of an athd of before.
func (r *Replicas) StartOlder(i int, binary string) {
	r.t.Helper()
	r.Athd[i] = StartAthd(r.t, r.Home[i], r.Admin[i], Older(binary))
}

// StartEnvoy starts the Envoy of this number, on what the athd of this number prints.
func (r *Replicas) StartEnvoy(i int) {
	r.t.Helper()
	bootstrap, stderr, err := Run(r.t, r.Home[i], "bootstrap")
	if err != nil {
		r.t.Fatalf("athd bootstrap: %v\n%s", err, stderr)
	}
	r.Envoy[i] = realenvoy.Start(r.t, []byte(bootstrap))
}

// Open opens their store from beside, with their keyset and a generous timeout unless
// on says otherwise.
func (r *Replicas) Open(t testing.TB, on tokenstore.Config) *tokenstore.Store {
	t.Helper()
	if on.Keyset == nil {
		on.Keyset = r.Keyset
	}
	if on.Timeout == 0 {
		on.Timeout = 10 * time.Second
	}
	store, err := tokenstore.Open(on)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// Ask sends a request to the companion through an Envoy; body is written as JSON.
func (r *Replicas) Ask(envoy int, method, path string, body any) (status int, answer string, err error) {
	return r.send(envoy, method, path, body, http.Header{})
}

// Operate is [Replicas.Ask] as the operator.
func (r *Replicas) Operate(envoy int, method, path string, body any) (status int, answer string, err error) {
	return r.send(envoy, method, path, body, http.Header{"X-Ath-User-Token": {AdminKey}})
}

func (r *Replicas) send(envoy int, method, path string, body any, header http.Header) (status int, answer string, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, "", err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.At[envoy]+path, in)
	if err != nil {
		return 0, "", err
	}
	req.Host, req.Header = r.Public, header
	header.Set("Content-Type", "application/json")
	resp, err := r.Client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, string(text), err
}

// Done makes an error of an answer that is none of success: of [Replicas.Ask] and
// [Replicas.Operate].
func Done(status int, answer string, err error) error {
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("athd answers %d: %s", status, answer)
	}
	return err
}

// findLeaks fails the test if a secret stands in a log of Envoy's. Those of athd are
// searched when it has ended.
func (r *Replicas) findLeaks() {
	places := map[string][]byte{}
	for i, e := range r.Envoy {
		if e == nil {
			continue // the test failed before
		}
		places[fmt.Sprintf("the log of Envoy %d", i)] = []byte(e.Log())
		places[fmt.Sprintf("the access log of Envoy %d", i)] = []byte(strings.Join(e.AccessLog(), "\n"))
	}
	leak.Of(r.t).Check(r.t, places)
}
