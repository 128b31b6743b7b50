package streams

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/streams"
)

// rewrite changes the configuration of one athd, and tells it.
func (w *world) rewrite(i int, old, now string) {
	w.t.Helper()
	path := filepath.Join(w.Home[i], "athd.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	changed := strings.Replace(string(text), old, now, 1)
	if changed == string(text) {
		w.t.Fatalf("athd.yaml has no %q", old)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.Athd[i].Signal(syscall.SIGHUP)
}

// some are a few kinds in make test, of both protocols and ways, and all otherwise.
func some() []streams.Kind {
	if whole() {
		return streams.Kinds()
	}
	var out []streams.Kind
	for _, name := range []string{"events over HTTP/1", "WebSocket", "gRPC both ways", "upload over HTTP/2", "long poll over HTTP/1"} {
		out = append(out, streams.Find(name))
	}
	return out
}

// ended waits for the end of those of which ends says so, and wants all others to
// go on.
func ended(t *testing.T, seen *table, what string, since time.Time, within time.Duration, all []*trial, ends func(*trial) bool) {
	t.Helper()
	for _, x := range all {
		if !ends(x) {
			continue
		}
		end, ok := x.s.Wait(since.Add(within))
		if !ok {
			t.Errorf("%s: %s goes on after %v", what, x.kind.Name, within)
			continue
		}
		seen.seen(x.kind.Name, what, ms(end.At.Sub(since)))
		seen.once(x.kind.Name, "how", end.How)
	}
	for _, x := range all {
		if ends(x) {
			continue
		}
		if end, ok := x.s.Wait(time.Now()); ok {
			t.Errorf("%s: %s ended too: %s", what, x.kind.Name, end)
		}
	}
}

// What a configuration that is read again no longer allows ends at the athd that
// read it, and nothing else does.
// proves: P-4, P-3
func TestExchangesEndWithTheConfigurationThatAllowedThem(t *testing.T) {
	for i, how := range watched {
		if i > 0 && !whole() {
			break
		}
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy})
			var seen table
			open := func(providerOf func(streams.Kind) string) (all []*trial) {
				for _, k := range some() {
					for envoy := range w.Envoy {
						all = append(all, &trial{kind: k, envoy: envoy, h: w.hold(providerOf(k), time.Hour)})
					}
				}
				w.openAll(t, all)
				return all
			}
			// Denied last: it holds on.
			all := open(appOf)
			since := time.Now()
			w.rewrite(0, "app_id: one\n", "app_id: another\n")
			ended(t, &seen, "app gone", since, lost, all, func(x *trial) bool { return x.envoy == 0 && x.h.provider == "one" })
			w.rewrite(0, "app_id: another\n", "app_id: one\n")
			w.opens(t, 0, "one")

			all = open(appOf)
			since = time.Now()
			w.rewrite(0, "  default: approve\n", "  default: approve\n  rules: [{scopes: ['streams:read'], action: deny}]\n")
			ended(t, &seen, "policy denies", since, lost, all, func(x *trial) bool { return x.envoy == 0 && !x.kind.Sends() })
			if whole() {
				seen.print(t, "From the signal until the client saw the end; "+how.name)
			}
		})
	}
}

// opens waits until a new exchange opens.
func (w *world) opens(t *testing.T, envoy int, provider string) {
	t.Helper()
	h, k := w.hold(provider, time.Hour), streams.Find("events over HTTP/1")
	for end := time.Now().Add(lost); ; time.Sleep(20 * time.Millisecond) {
		s, err := k.Open(t.Context(), w.api, w.through(envoy, h))
		if err == nil {
			s.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing opens again: %v", err)
		}
	}
}

// A provider that was added while athd runs may be removed at any athd: what goes to
// it ends everywhere, in gateway mode too.
// proves: O-1
func TestExchangesEndWithTheirProvider(t *testing.T) {
	for i, how := range watched {
		if i > 0 && !whole() {
			break
		}
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy})
			var seen table
			for at, name := range []string{"asked at the first", "asked at the other"} {
				id := late + name[len(name)-5:]
				w.addLate(id)
				for envoy := range w.Envoy {
					w.opens(t, envoy, id) // the other athd hears of it
				}
				var all []*trial
				for _, k := range some() {
					if k.GRPC || k.Path == streams.SocketPath {
						continue
					}
					for envoy := range w.Envoy {
						all = append(all, &trial{kind: k, envoy: envoy, h: w.hold(id, time.Hour)}, &trial{kind: k, envoy: envoy, h: w.hold(gate, time.Hour)})
					}
				}
				w.openAll(t, all)
				since := time.Now()
				if err := w.operate(at, http.MethodDelete, ath.AdminProvidersPath+"/"+id, nil); err != nil {
					t.Fatal(err)
				}
				ended(t, &seen, name, since, fault, all, func(x *trial) bool { return x.h.provider == id })
			}
			if whole() {
				seen.print(t, "From the removal of a run-time provider until the client saw the end; "+how.name)
			}
		})
	}
}
