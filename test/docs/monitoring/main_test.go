// Package monitoring holds what operators are given (alerts, a dashboard, the
// page about logs and metrics) against what a running athd and a real Envoy
// say of themselves.
package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

const (
	alertsFile    = "../../../deploy/prometheus/alerts.yaml"
	dashboardFile = "../../../deploy/grafana/athd.json"
	docsFile      = "../../../docs/monitoring.md"
)

func TestMain(m *testing.M) { stage.Main(m) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A metric is a name on a page of metrics: its type, and the labels of each of
// its series.
type metric struct {
	kind   string
	series []map[string]string
}

var (
	typeLine = regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	seriesOf = regexp.MustCompile(`^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$`)
	labelOf  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// metrics reads a page of metrics in Prometheus' text format. Series are kept
// by their own name; of a histogram that is the name with _bucket, _sum or
// _count, and the type is at the bare one.
func metrics(t *testing.T, page string) map[string]*metric {
	t.Helper()
	all := map[string]*metric{}
	at := func(name string) *metric {
		if all[name] == nil {
			all[name] = &metric{}
		}
		return all[name]
	}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if m := typeLine.FindStringSubmatch(line); m != nil {
			at(m[1]).kind = m[2]
		}
		if m := seriesOf.FindStringSubmatch(line); m != nil {
			labels := map[string]string{"__value__": m[3]}
			for _, l := range labelOf.FindAllStringSubmatch(m[2], -1) {
				labels[l[1]] = l[2]
			}
			at(m[1]).series = append(at(m[1]).series, labels)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d metrics were found in\n%s", len(all), page)
	}
	return all
}

// value returns the value of the one series that has these labels.
func value(t *testing.T, all map[string]*metric, name string, labels ...string) string {
	t.Helper()
	if all[name] == nil {
		t.Fatalf("there is no metric %s", name)
	}
next:
	for _, s := range all[name].series {
		for i := 0; i < len(labels); i += 2 {
			if s[labels[i]] != labels[i+1] {
				continue next
			}
		}
		return s["__value__"]
	}
	t.Fatalf("%s has no series with %v", name, labels)
	return ""
}

func scrapeAthd(t *testing.T, s *stage.Stage) map[string]*metric {
	t.Helper()
	status, page := s.Athd.Get("/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", status, page)
	}
	return metrics(t, page)
}

func scrapeEnvoy(t *testing.T, s *stage.Stage) map[string]*metric {
	t.Helper()
	return metrics(t, s.Envoy.Admin("/stats/prometheus"))
}

// walked is a stage on which an agent has registered, got a token and called:
// once within its scopes and once outside.
func walked(t *testing.T) (*stage.Stage, func(method string) int) {
	t.Helper()
	return walkedBy(t, "")
}

// walkedBy is the same with further keys of envoy.
func walkedBy(t *testing.T, more string) (*stage.Stage, func(method string) int) {
	t.Helper()
	s := stage.Start(t, stage.Options{IssuerAlone: true, EnvoyMore: more}) // so that what is exported of issuers is there, too
	c := s.NewAgent("watched")
	token := s.Token(c, stage.Provider, "pictures:read")
	call := func(method string) int {
		return s.Call(c, token, method, "/ath/proxy/gallery/pictures").Status
	}
	if in, out := call("GET"), call("POST"); in != http.StatusOK || out != http.StatusForbidden {
		t.Fatalf("the calls were answered with %d and %d", in, out)
	}
	return s, call
}

// What promread says; see there.
type parsed struct {
	Errors    []string   `json:"errors"`
	Alerts    []alert    `json:"alerts"`
	Selectors []selector `json:"selectors"`

	Fired map[string][]string `json:"fired"`
}

type alert struct {
	Name        string            `json:"name"`
	Expression  string            `json:"expression"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type selector struct {
	Expression string                               `json:"expression"`
	Metric     string                               `json:"metric"`
	Matchers   []struct{ Name, Type, Value string } `json:"matchers"`
	Groups     []string                             `json:"groups"`
}

// parse has rules and expressions read by Prometheus' own parsers.
func parse(t *testing.T, rules string, expressions []string) parsed {
	t.Helper()
	return promread(t, map[string]any{"rules": rules, "expressions": expressions})
}

func promread(t *testing.T, of map[string]any) parsed {
	t.Helper()
	in, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it may have to be built
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", ".")
	cmd.Dir, cmd.Stdin = "promread", bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("promread: %v\n%s", err, &stderr)
	}
	var p parsed
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatal(err)
	}
	return p
}
