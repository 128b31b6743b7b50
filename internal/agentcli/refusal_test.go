package agentcli

import (
	"strings"
	"testing"

	"github.com/athd/athd/client"
)

// F-27
func TestAdviceNamesTheFieldAndTheCure(t *testing.T) {
	for _, c := range []struct{ field, want, not string }{
		{"agent_id", "development: {allow_http: true, allow_private_hosts: true}", "needless escapes"},
		{"state", "fix the field state", "needless escapes"},
		{"", "needless escapes", "the field  "},
	} {
		r := advisedRefusal{serverError: &client.Error{Code: "INVALID_REQUEST", Message: "No.", Status: 400, Details: map[string]any{"field": c.field}}}
		if text := r.Error(); !strings.Contains(text, c.want) || strings.Contains(text, c.not) {
			t.Errorf("field %q: %s", c.field, text)
		}
	}
}
