package monitoring

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The parser that judges our files refuses what Prometheus would refuse.
func TestTheParserRefusesWhatPrometheusWould(t *testing.T) {
	p := parse(t, `groups: [{name: a, rules: [{alert: X, expr: "sum(", for: 1m}]}]`, []string{"rate(a)", "a{b=~'('}", "up"})
	if len(p.Errors) != 3 || len(p.Selectors) != 1 || p.Selectors[0].Metric != "up" {
		t.Errorf("%+v", p)
	}
	if p = parse(t, "groups: [{name: a, rules: [{alert: X, expr: up, fore: 1m}]}]", nil); len(p.Errors) == 0 {
		t.Error("an unknown field was taken")
	}
}

// Every metric, label and label value that an alert or the dashboard names is
// one that athd, or Envoy before it, really exports.
func TestAlertsAndDashboardNameWhatIsThere(t *testing.T) {
	expressions, labels := dashboard(t)
	p := parse(t, string(read(t, alertsFile)), expressions)
	for _, e := range p.Errors {
		t.Error(e)
	}
	if len(p.Alerts) < 10 || len(p.Selectors) < len(p.Alerts)+20 {
		t.Fatalf("only %d alerts and %d selectors were found", len(p.Alerts), len(p.Selectors))
	}
	for _, a := range p.Alerts {
		if a.Name == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" ||
			!slices.Contains([]string{"critical", "warning"}, a.Labels["severity"]) {
			t.Errorf("%s has no summary, description or severity: %+v", a.Name, a)
		}
	}
	s, _ := walked(t)
	there := scrapeAthd(t, s)
	maps.Copy(there, scrapeEnvoy(t, s))
	s, _ = walkedBy(t, "filter: ext_proc, replies: checked")
	for name, m := range scrapeEnvoy(t, s) {
		if there[name] == nil {
			there[name] = m
		}
	}
	there["up"] = &metric{series: []map[string]string{{}}} // Prometheus' own
	for _, sel := range p.Selectors {
		m := there[sel.Metric]
		if m == nil || len(m.series) == 0 {
			t.Errorf("%s: nobody exports %s", sel.Expression, sel.Metric)
			continue
		}
		for _, matcher := range sel.Matchers {
			if !targetLabel(matcher.Name) {
				matches(t, sel.Expression, m, matcher.Name, matcher.Type, matcher.Value)
			}
		}
		for _, name := range append(sel.Groups, labels[sel.Expression]...) {
			if _, ok := m.series[0][name]; !ok && !targetLabel(name) {
				t.Errorf("%s: %s has no label %s", sel.Expression, sel.Metric, name)
			}
		}
	}
}

// targetLabel says whether Prometheus adds the label when it scrapes.
func targetLabel(name string) bool { return name == "job" || name == "instance" }

// matches looks for a series for each alternative of a matcher.
func matches(t *testing.T, expression string, m *metric, name, kind, value string) {
	t.Helper()
	alternatives := []string{regexp.QuoteMeta(value)}
	if strings.HasSuffix(kind, "~") {
		alternatives = strings.Split(value, "|")
	}
	for _, a := range alternatives {
		want := regexp.MustCompile("^(?:" + a + ")$")
		if !slices.ContainsFunc(m.series, func(s map[string]string) bool {
			got, ok := s[name]
			return ok && want.MatchString(got)
		}) {
			t.Errorf("%s: no series has %s like %q", expression, name, a)
		}
	}
}

type board struct {
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type, Definition string
			Datasource             struct{ UID string }
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	Datasource  struct{ UID string }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct {
		Expr, LegendFormat string
		Datasource         struct{ UID string }
	}
}

var (
	labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	shownLabel  = regexp.MustCompile(`\{\{(\w+)\}\}`)
	variable    = regexp.MustCompile(`\$\w+`)
)

// dashboard returns the expressions of the dashboard as Grafana would send
// them, and the labels that it shows of each.
func dashboard(t *testing.T) (expressions []string, labels map[string][]string) {
	t.Helper()
	text := read(t, dashboardFile)
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "://") {
		t.Error("the dashboard names an address")
	}
	known := map[string]string{"$__rate_interval": "5m"}
	for _, v := range b.Templating.List {
		known["$"+v.Name] = ".*"
	}
	labels = map[string][]string{}
	add := func(e string, shown ...string) {
		e = variable.ReplaceAllStringFunc(e, func(v string) string {
			if known[v] == "" {
				t.Errorf("%s: there is no variable %s", e, v)
			}
			return known[v]
		})
		expressions = append(expressions, e)
		labels[e] = append(labels[e], shown...)
	}
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil || v.Datasource.UID != "${datasource}" {
			t.Fatalf("variable %s: %q from %q", v.Name, v.Definition, v.Datasource.UID)
		}
		add(m[1], m[2])
	}
	ids := map[int]bool{}
	for _, p := range b.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q has no title, or its id twice", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has no unit, no expression or a data source of its own", p.Title)
		}
		for _, target := range p.Targets {
			if target.LegendFormat == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q has no legend or a data source of its own", p.Title)
			}
			var shown []string
			for _, m := range shownLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				shown = append(shown, m[1])
			}
			add(target.Expr, shown...)
		}
	}
	return expressions, labels
}

// What the alerts of the store and of Envoy watch for is what happens: when
// the store goes, and when athd goes.
func TestFailuresShowInTheMetrics(t *testing.T) {
	s, call := walked(t)
	is := func(all map[string]*metric, want, name string, labels ...string) {
		t.Helper()
		if got := value(t, all, name, labels...); got != want {
			t.Errorf("%s%v is %s, want %s", name, labels, got, want)
		}
	}
	before := scrapeAthd(t, s)
	is(before, "1", "athd_ready")
	is(before, "0", "athd_decisions_total", "reason", "store_unavailable", "provider", "gallery")
	is(scrapeEnvoy(t, s), "0", "envoy_http_ext_authz_error", "envoy_http_conn_manager_prefix", "public")

	s.Redis.Kill()
	if status := call("GET"); status != 503 {
		t.Errorf("without a store the call was answered with %d", status)
	}
	after := scrapeAthd(t, s)
	is(after, "1", "athd_decisions_total", "reason", "store_unavailable", "provider", "gallery")
	ready := value(t, after, "athd_ready")
	for deadline := time.Now().Add(time.Minute); ready != "0" && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond) // the answer of a moment ago is told once more
		ready = value(t, scrapeAthd(t, s), "athd_ready")
	}
	status, _ := s.Athd.Get("/readyz")
	if ready != "0" || status != 503 {
		t.Errorf("without a store athd_ready is %s and /readyz answers %d", ready, status)
	}

	s.Athd.Kill()
	if status := call("GET"); status != 503 {
		t.Errorf("without athd the call was answered with %d", status)
	}
	envoy := scrapeEnvoy(t, s)
	is(envoy, "1", "envoy_http_ext_authz_error", "envoy_http_conn_manager_prefix", "public")
	is(envoy, "2", "envoy_http_downstream_rq_xx", "envoy_http_conn_manager_prefix", "public", "envoy_response_code_class", "5")
}
