package monitoring

import (
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
)

var (
	tableRow = regexp.MustCompile(`(?m)^\| (.+?) \|(.*)\|$`)
	quoted   = regexp.MustCompile("`([^`]+)`")
)

// section returns the names in the first column of the tables between a
// heading and the next one, and for each what stands in the other columns.
func section(t *testing.T, heading string) map[string]string {
	t.Helper()
	_, text, found := strings.Cut(string(read(t, docsFile)), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", docsFile, heading)
	}
	text, _, _ = strings.Cut(text, "\n#")
	names := map[string]string{}
	for _, row := range tableRow.FindAllStringSubmatch(text, -1) {
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			if _, twice := names[name[1]]; twice {
				t.Errorf("%s: %s is described twice", heading, name[1])
			}
			names[name[1]] = row[2]
		}
	}
	return names
}

// same compares what is described with what there is.
func same(t *testing.T, what string, described map[string]string, there []string) {
	t.Helper()
	for _, name := range there {
		if len(strings.Trim(described[name], " |")) < 8 {
			t.Errorf("%s: %s is not described", what, name)
		}
	}
	for name := range described {
		if !slices.Contains(there, name) {
			t.Errorf("%s: %s is described, and is not there", what, name)
		}
	}
}

func TestMonitoringIsDocumented(t *testing.T) {
	s, _ := walked(t)

	t.Run("metrics and reasons", func(t *testing.T) {
		var names []string
		described := section(t, "## Metrics")
		all := scrapeAthd(t, s)
		for name, m := range all {
			if !strings.HasPrefix(name, "athd_") || m.kind == "" {
				continue
			}
			names = append(names, name)
			series := all[name].series
			if m.kind == "histogram" {
				series = all[name+"_count"].series
			}
			var labels []string
			for label := range series[0] {
				if label != "__value__" {
					labels = append(labels, "`"+label+"`")
				}
			}
			slices.Sort(labels)
			if want := " " + m.kind + " | " + strings.Join(labels, ", "); !strings.HasPrefix(strings.TrimRight(described[name], " "), strings.TrimRight(want, " ")) {
				t.Errorf("%s is described as %q, want%q", name, described[name], want)
			}
		}
		for _, r := range authz.Reasons() {
			names = append(names, string(r))
		}
		same(t, "metrics and reasons", described, names)
	})

	t.Run("alerts", func(t *testing.T) {
		var names []string
		for _, a := range parse(t, string(read(t, alertsFile)), nil).Alerts {
			names = append(names, a.Name)
		}
		same(t, "alerts", section(t, "## Alerts"), names)
	})

	t.Run("audit events and their fields", func(t *testing.T) {
		var fields []string
		events := 0
		for line := range strings.Lines(s.Athd.Logs() + fullEvent()) {
			entry := fieldsOf(t, line)
			if entry["msg"] != "audit" {
				continue
			}
			events++
			for name := range entry {
				if !slices.Contains([]string{"time", "level", "msg"}, name) {
					fields = append(fields, name)
				}
			}
		}
		if events < 5 {
			t.Fatalf("only %d events were logged", events)
		}
		for _, kind := range audit.Kinds() {
			fields = append(fields, string(kind))
		}
		same(t, "audit events", section(t, "### Audit events"), fields)
	})

	t.Run("Envoy's access log", func(t *testing.T) {
		line := s.Envoy.WaitAccessLog(`"reason":"scope_missing"`)
		same(t, "Envoy's access log", section(t, "## Envoy's access log"), slices.Collect(maps.Keys(fieldsOf(t, line))))
	})

	t.Run("lines of athd's log", func(t *testing.T) {
		sources := code(t)
		lines := section(t, "## athd's log")
		if len(lines) < 10 {
			t.Fatalf("only %d lines are described", len(lines))
		}
		for line := range lines {
			if !strings.Contains(sources, `"`+line) {
				t.Errorf("nothing logs %q", line)
			}
		}
		for _, m := range logs.FindAllStringSubmatch(sources, -1) {
			if _, described := lines[m[1]]; !described {
				t.Errorf("%q is logged, and not described", m[1])
			}
		}
	})
}

// fullEvent is the line of an event that has every field.
func fullEvent() string {
	var line strings.Builder
	log := audit.New(audit.Config{Writer: &line, JSON: true})
	e := audit.Event{Kind: audit.AccessDenied}
	v := reflect.ValueOf(&e).Elem()
	for _, f := range v.Fields() {
		switch f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Int:
			f.SetInt(1)
		case reflect.Bool:
			f.SetBool(true)
		}
	}
	log.Record(context.Background(), e)
	log.Close()
	return line.String()
}

func fieldsOf(t *testing.T, line string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return fields
}

// logs finds what is logged above debug.
var logs = regexp.MustCompile(`\.(?:Info|Warn|Error)(?:Context)?\((?:(?:\w\.)?ctx, )?"([^"]+)"`)

// code returns what athd is built from.
func code(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd/athd", "admin", "approval", "athflow", "attest", "audit", "authz", "catalog", "config", "envoy", "httpapi", "issuer", "provider", "revocation", "tokenstore", "vault", "watch"} {
		err := filepath.WalkDir(filepath.Join("..", "..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
