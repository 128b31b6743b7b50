package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/test/harness/stage"
)

var (
	rounds   = flag.Int("rounds", 21, "measure this many interleaved `rounds`")
	during   = flag.Duration("during", 1500*time.Millisecond, "measure this `long` in each round, after a tenth of it to warm up")
	pin      = flag.Bool("pin", true, "on Linux, leave one processor to Envoy and all others to everything else")
	jsonFile = flag.String("json", "", "also write every round as JSON to this `file`")
)

// BenchmarkRequest measures all variants through Envoy, and B and D asked
// directly, and prints a table in Markdown.
func BenchmarkRequest(b *testing.B) {
	r := newRig(b)
	requests, messages := drawn(r.calls, call.request), drawn(r.calls, func(c call) []byte { return c.check(b) })
	r.verify(b)
	through, asked := map[string][]client{}, map[string][]client{}
	paths, directly := []string{bare, plain, lean, athdIs, watchIs, procIs}, []string{lean, athdIs}
	based, compared := r.others[baseIs]
	if compared {
		paths, directly = append(paths, baseIs), append(directly, baseIs)
		asked[baseIs] = direct(b, based.socket, messages)
		*rounds = max(*rounds, leastRounds)
	}
	for _, variant := range paths {
		through[variant] = dialHTTP(b, r.envoy.Addr(variant), requests)
	}
	asked[lean], asked[athdIs] = direct(b, r.noop[lean], messages), direct(b, r.athd.socket, messages)

	all := results{
		Base: *base,
		Date: time.Now().UTC().Truncate(time.Second), Machine: machine(b, r), Rounds: *rounds, Seconds: during.Seconds(),
		Through: map[string][]run{}, Direct: map[string][]run{},
	}
	for b.Loop() { // -benchtime 1x
		for range *rounds {
			for _, variant := range paths {
				all.Through[variant] = append(all.Through[variant], r.measure(b, variant, through[variant], *during))
			}
			for _, variant := range directly {
				all.Direct[variant] = append(all.Direct[variant], r.measure(b, variant, asked[variant], *during/2))
			}
			r.dropLog(b, r.athd)
			for _, other := range r.others {
				r.dropLog(b, other)
			}
			swap(paths, watchIs, procIs)
			if compared {
				// Who comes second meets what the first one left.
				swap(paths, athdIs, baseIs)
				swap(directly, athdIs, baseIs)
			}
		}
	}
	all.Check = inProcess(b, "")
	if compared && baseTree != "" {
		figures := inProcess(b, baseTree)
		all.BaseCheck = &figures
	}
	fmt.Print("\n", all.markdown(), "\n")
	b.ReportMetric(median(ratios(all.Through[athdIs], all.Through[plain], perSecond)), "D/B")
	b.ReportMetric(0, "ns/op") // which would be the time of the whole
	if *jsonFile != "" {
		text, err := json.MarshalIndent(all, "", "  ")
		if err == nil {
			err = os.WriteFile(*jsonFile, append(text, '\n'), 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// drawn are messages in the order in which they are sent: drawn by Zipf's law
// with exponent 1.1, since some agents call much more often than others.
func drawn(calls []call, message func(call) []byte) [][]byte {
	byRank := make([][]byte, len(calls))
	for i, c := range calls {
		byRank[i] = message(c)
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, uint64(len(calls)-1))
	out := make([][]byte, 1<<15)
	for i := range out {
		out[i] = byRank[zipf.Uint64()]
	}
	return out
}

// verify looks at one reply of each variant, so that no fast failure counts.
func (r *rig) verify(t testing.TB) {
	t.Helper()
	call := r.calls[0]
	upstream := map[string]string{bare: call.token, plain: stage.UserToken, lean: stage.UserToken, athdIs: stage.UserToken, watchIs: stage.UserToken, procIs: stage.UserToken}
	answer := map[string]string{plain: r.noop[plain], lean: r.noop[lean], athdIs: r.athd.socket}
	if based, ok := r.others[baseIs]; ok {
		upstream[baseIs], answer[baseIs] = stage.UserToken, based.socket
	}
	for variant, authorization := range upstream {
		conn, err := net.Dial("tcp", r.envoy.Addr(variant))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(call.request()); err != nil {
			t.Fatal(err)
		}
		head, err := readReply(bufio.NewReader(conn))
		if err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		saw := strings.ToLower(string(head))
		if !strings.HasPrefix(saw, "get /api/products/7?page=2 http/1.1\r\n") ||
			!strings.Contains(saw, "\r\nauthorization: bearer "+strings.ToLower(authorization)+"\r\n") ||
			strings.Count(saw, "\r\nauthorization:") != 1 {
			t.Fatalf("%s: the upstream saw\n%s", variant, head)
		}
	}
	for variant, socket := range answer {
		reply, err := ask(dialCheck(t, socket), call.check(t))
		if err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		var message authv3.CheckResponse
		if err := proto.Unmarshal(reply, &message); err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		headers := message.GetOkResponse().GetHeaders()
		if message.GetStatus() == nil || len(headers) != 1 || headers[0].GetHeader().GetValue() != "Bearer "+stage.UserToken {
			t.Fatalf("%s answers %v", variant, &message)
		}
	}
}

// dropLog keeps an athd's log from filling the disk, and looks whether every
// decision in it was an allow.
func (r *rig) dropLog(t testing.TB, s sidecar) {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(text, []byte(`"access_denied"`)); i >= 0 {
		t.Fatalf("athd refused a request: %s", text[max(0, i-100):min(len(text), i+400)])
	}
	if err := os.Truncate(s.log, 0); err != nil {
		t.Fatal(err)
	}
}

// perSecond, serverTime and bothTime are what ratios are made of.
func bothTime(r run) float64   { return float64(r.Server + r.Envoy) }
func perSecond(r run) float64  { return r.PerSecond }
func serverTime(r run) float64 { return float64(r.Server) }

// ratios returns x/y of each round, sorted.
func ratios(x, y []run, of func(run) float64) []float64 {
	var out []float64
	for i := range x {
		out = append(out, of(x[i])/of(y[i]))
	}
	slices.Sort(out)
	return out
}

func median(sorted []float64) float64 { return quantile(sorted, 0.5) }

// quantile interpolates between the values beside the place.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
