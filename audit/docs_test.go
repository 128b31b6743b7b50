package audit

import (
	"os"
	"strings"
	"testing"
)

// TestDocsListTheFieldsOfALine: the table of docs/monitoring.md is that of this
// package.
func TestDocsListTheFieldsOfALine(t *testing.T) {
	docs, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| field | meaning |\n|---|---|\n| `timestamp` | When it was decided, in UTC. |\n")
	for _, f := range fields {
		want.WriteString("| `" + f.name + "` | " + f.meaning + " |\n")
	}
	if !strings.Contains(string(docs), want.String()+"\n") {
		t.Errorf("docs/monitoring.md does not have this table:\n%s", &want)
	}
}
