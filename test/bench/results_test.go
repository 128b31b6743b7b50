package bench

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realenvoy"
)

// results is everything that was measured, and where.
type results struct {
	Date    time.Time        `json:"date"`
	Machine string           `json:"machine"`
	Rounds  int              `json:"rounds"`
	Seconds float64          `json:"seconds_per_round"`
	Through map[string][]run `json:"through_envoy"`
	Direct  map[string][]run `json:"direct"`
	Check   inProcessFigures `json:"in_process"`

	Base      string            `json:"base,omitempty"` // what D was compared with
	BaseCheck *inProcessFigures `json:"base_in_process,omitempty"`
}

// inProcessFigures are those of Check without a network: message in, message
// out.
type inProcessFigures struct {
	Nanoseconds float64 `json:"ns"`
	Bytes       int     `json:"bytes"`
	Allocations int     `json:"allocations"`
}

var benchmarkLine = regexp.MustCompile(`(?m)^BenchmarkCheck\S*\s+\d+\s+([\d.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op`)

// inProcess runs the benchmark of package envoy, which knows its insides, of
// this tree or of the one in a folder.
func inProcess(t testing.TB, folder string) (f inProcessFigures) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-run", "^$", "-bench", "^BenchmarkCheck$", "-benchmem", "-cpu", "1",
		"github.com/athd/athd/envoy/...")
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	found := benchmarkLine.FindStringSubmatch(string(out))
	if err != nil || found == nil {
		t.Fatalf("the benchmark of package envoy: %v\n%s", err, out)
	}
	f.Nanoseconds, _ = strconv.ParseFloat(found[1], 64)
	f.Bytes, _ = strconv.Atoi(found[2])
	f.Allocations, _ = strconv.Atoi(found[3])
	return f
}

// machine says what was measured and on what.
func machine(t testing.TB, r *rig) string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), realenvoy.Binary(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	envoy := regexp.MustCompile(`/(\d+\.\d+\.\d+)/`).FindSubmatch(text)
	if envoy == nil {
		t.Fatalf("Envoy says of its version: %s", text)
	}
	info := r.redis.Client().Info(t.Context(), "server").Val()
	_, redis, _ := strings.Cut(info, "redis_version:")
	redis, _, _ = strings.Cut(redis, "\r\n")
	return fmt.Sprintf("Envoy %s, Redis %s, %s, %s/%s, %s%s", envoy[1], redis, runtime.Version(), runtime.GOOS, runtime.GOARCH, r.processors, processor())
}

// processor is the name that Linux knows, or "".
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text)
	if found == nil {
		return ""
	}
	return " (" + string(found[1]) + ")"
}

// markdown is what README quotes.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s. %d connections, 14 headers, %d tokens of %d agents; %d interleaved rounds of %.2g s (direct: half of that).\n\n",
		r.Date.Format(time.DateOnly), r.Machine, connections, tokens, agents, r.Rounds, r.Seconds)
	b.WriteString("| through Envoy | requests per second | p50 | p99 | processor time of the server | of Redis | of Envoy |\n|---|---|---|---|---|---|---|\n")
	for _, v := range []struct{ name, what string }{
		{bare, "A: no ext_authz"}, {plain, "B: ext_authz by its defaults, a server that allows everything"}, {lean, "B2: that server, on athd's configuration"}, {athdIs, "D: athd, one round trip to Redis"},
		{watchIs, "W: that, and long exchanges are watched (`envoy.streams: watched`)"}, {procIs, "E: athd, asked by ext_proc instead (`envoy.filter: ext_proc`)"},
	} {
		b.WriteString(row(v.what, r.Through[v.name]))
	}
	if r.Base != "" {
		b.WriteString(row("D of "+r.Base, r.Through[baseIs]))
	}
	b.WriteString("| **asked directly** | | | | | | |\n")
	b.WriteString(row("B: a server that allows everything", r.Direct[lean]))
	b.WriteString(row("D: athd, one round trip to Redis", r.Direct[athdIs]))
	if r.Base != "" {
		b.WriteString(row("D of "+r.Base, r.Direct[baseIs]))
	}
	b.WriteString("\n| throughput | median | quartiles |\n|---|---|---|\n")
	for _, v := range []struct {
		what string
		x, y []run
	}{
		{"**D / B through Envoy**", r.Through[athdIs], r.Through[plain]},
		{"D / B2 through Envoy", r.Through[athdIs], r.Through[lean]},
		{"B / A through Envoy", r.Through[plain], r.Through[bare]},
		{"D / A through Envoy", r.Through[athdIs], r.Through[bare]},
		{"E / D through Envoy", r.Through[procIs], r.Through[athdIs]},
		{"D / B directly", r.Direct[athdIs], r.Direct[lean]},
		{"W / D through Envoy", r.Through[watchIs], r.Through[athdIs]},
	} {
		q := ratios(v.x, v.y, perSecond)
		fmt.Fprintf(&b, "| %s | %.3f | %.3f to %.3f |\n", v.what, median(q), quantile(q, 0.25), quantile(q, 0.75))
	}
	b.WriteString("\n| processor time of athd and Envoy together, for a request | median | 95 % interval |\n|---|---|---|\n")
	for _, v := range []struct {
		what string
		x    []run
	}{
		{"**W / D: that exchanges are watched which are long**", r.Through[watchIs]},
		{"E / D: that ext_proc asks", r.Through[procIs]},
	} {
		q := ratios(v.x, r.Through[athdIs], bothTime)
		if math.IsNaN(median(q)) { // the system tells no processor time
			continue
		}
		low, high := interval(q)
		fmt.Fprintf(&b, "| %s | %.3f | %.3f to %.3f |\n", v.what, median(q), low, high)
	}
	fmt.Fprintf(&b, "\nOne check in the process, from message to message, the store in memory: %.1f µs, %d allocations (%d bytes).\n",
		r.Check.Nanoseconds/1000, r.Check.Allocations, r.Check.Bytes)
	b.WriteString(r.againstBase())
	return b.String()
}

func row(what string, runs []run) string {
	of := func(f func(run) float64) float64 {
		var all []float64
		for _, r := range runs {
			all = append(all, f(r))
		}
		slices.Sort(all)
		return median(all)
	}
	micro := func(f func(run) float64) string {
		if us := of(f) / 1e3; us > 0.5 {
			return fmt.Sprintf("%.0f µs", us)
		}
		return ""
	}
	return fmt.Sprintf("| %s | %.0f | %.2f ms | %.2f ms | %s | %s | %s |\n", what, of(func(r run) float64 { return r.PerSecond }),
		of(func(r run) float64 { return float64(r.P50) / 1e6 }), of(func(r run) float64 { return float64(r.P99) / 1e6 }),
		micro(func(r run) float64 { return float64(r.Server) }), micro(func(r run) float64 { return float64(r.Redis) }),
		micro(func(r run) float64 { return float64(r.Envoy) }))
}
