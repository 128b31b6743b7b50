package addprovider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/athd/athd/test/harness/figures"
)

// Each provider may be at a host of its own, each of which Envoy dials and
// remembers; what that takes of its memory is printed. All hosts are loopback
// addresses, which only Linux has without more ado.
func TestManyHostsAreDialled(t *testing.T) {
	n := size(t, "ATHD_RUNTIME_HOSTS", 20, 1000)
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250)
	}
	w := newWorld(t, setup{hosts: hosts})
	callers := make([]caller, n)
	w.each(n, func(i int) (err error) {
		callers[i], err = w.hold(fmt.Sprintf("host-%d", i), hosts[i])
		return err
	})
	for i := range n {
		if err := w.add(0, callers[i].provider, hosts[i]); err != nil {
			t.Fatal(err)
		}
	}
	before := w.memory(t)
	for i, c := range callers {
		if status, body, err := w.call(0, c); err != nil || status != http.StatusOK || body != "/v1/things/7" {
			t.Fatalf("host %d: %d %s, %v\n%s", i, status, body, err, w.Envoy[0].Admin("/stats?filter=dns_cache|dynamic_forward"))
		}
	}
	after := w.memory(t)
	text := fmt.Sprintf("%d hosts by TLS, a connection to each: allocated %.1f MB, %.1f MB before (%.1f kB a host); resident %.1f MB, %.1f MB before",
		n, mb(after.allocated), mb(before.allocated), float64(after.allocated-before.allocated)/1e3/float64(n), mb(after.resident), mb(before.resident))
	t.Log(text)
	if full() {
		figures.Dialled.Seen(t, true, "%s", text)
	}
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// A use is how much memory Envoy has, in bytes.
type use struct{ allocated, resident int64 }

func (w *world) memory(t *testing.T) (u use) {
	t.Helper()
	var reply struct{ Allocated string }
	err := json.Unmarshal([]byte(w.Envoy[0].Admin("/memory")), &reply)
	if err == nil {
		u.allocated, err = strconv.ParseInt(reply.Allocated, 10, 64)
	}
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Envoy[0].PID()))
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if err != nil || found == nil {
		t.Fatalf("Envoy's memory is not to be had: %v", err)
	}
	kb, _ := strconv.ParseInt(string(found[1]), 10, 64)
	u.resident = kb << 10
	return u
}
