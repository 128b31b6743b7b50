package bench

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var base = flag.String("base", "", "compare with another athd: the path of its `binary`, or a commit, which is built")

const (
	// leastRounds are as many as it takes to tell two builds of athd apart:
	// throughput of one and the same differs by 6 % between two runs.
	leastRounds = 31
	resamples   = 10_000
)

// baseTree is the folder of the base's source, "" where -base is a binary.
var baseTree string

// baseBinary is the athd to compare with, "" for none.
func baseBinary(t testing.TB) string {
	t.Helper()
	if *base == "" {
		return ""
	}
	root, err := filepath.Abs("../..") // a path is meant as make was told it
	if err != nil {
		t.Fatal(err)
	}
	path := *base
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	if about, err := os.Stat(path); err == nil && about.Mode().IsRegular() {
		return path
	}
	commit, err := exec.CommandContext(t.Context(), "git", "-C", root, "rev-parse", "--verify", "--end-of-options", *base+"^{commit}").Output()
	if err != nil {
		t.Fatalf("-base %s is neither a binary nor a commit", *base)
	}
	baseTree = t.TempDir()
	binary := filepath.Join(baseTree, "athd-of-base")
	shell(t, root, "git archive "+strings.TrimSpace(string(commit))+" | tar -x -C '"+baseTree+"'")
	shell(t, baseTree, "CGO_ENABLED=0 go build -buildvcs=false -o '"+binary+"' ./cmd/athd")
	return binary
}

func shell(t testing.TB, folder, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", script)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// swap exchanges two values of a list.
func swap(list []string, a, b string) {
	i, j := slices.Index(list, a), slices.Index(list, b)
	list[i], list[j] = list[j], list[i]
}

// againstBase tells how D compares with the base: the median of the rounds'
// ratios, with a 95 % interval of what other such rounds would have given.
func (r *results) againstBase() string {
	if r.Base == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| D against %s | median | 95 %% interval |\n|---|---|---|\n", r.Base)
	for _, v := range []struct {
		what string
		x, y []run
		of   func(run) float64
	}{
		{"**processor time of athd for a request, through Envoy**", r.Through[athdIs], r.Through[baseIs], serverTime},
		{"processor time of athd for a request, asked directly", r.Direct[athdIs], r.Direct[baseIs], serverTime},
		{"throughput through Envoy", r.Through[athdIs], r.Through[baseIs], perSecond},
		{"throughput asked directly", r.Direct[athdIs], r.Direct[baseIs], perSecond},
	} {
		q := ratios(v.x, v.y, v.of)
		if math.IsNaN(median(q)) { // the system tells no processor time
			continue
		}
		low, high := interval(q)
		fmt.Fprintf(&b, "| %s | %.3f | %.3f to %.3f |\n", v.what, median(q), low, high)
	}
	if c := r.BaseCheck; c != nil {
		fmt.Fprintf(&b, "\nOne check of %s in the process: %.1f µs, %d allocations (%d bytes).\n", r.Base, c.Nanoseconds/1000, c.Allocations, c.Bytes)
	}
	return b.String()
}

// interval is the 95 % bootstrap interval of a median: where the medians of
// as many values, drawn again and again from the same ones, lie.
func interval(values []float64) (low, high float64) {
	draw := rand.New(rand.NewPCG(1, 2))
	medians, sample := make([]float64, resamples), make([]float64, len(values))
	for i := range medians {
		for j := range sample {
			sample[j] = values[draw.IntN(len(values))]
		}
		slices.Sort(sample)
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	return quantile(medians, 0.025), quantile(medians, 0.975)
}
