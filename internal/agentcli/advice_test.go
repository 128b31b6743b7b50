package agentcli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

const agentsPage = "../../docs/agents.md"

// constants are the values of all constants of a type in a source file.
func constants(t *testing.T, file, of string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range parsed.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if name, ok := v.Type.(*ast.Ident); !ok || name.Name != of {
				continue
			}
			for _, e := range v.Values {
				value, err := strconv.Unquote(e.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, value)
			}
		}
	}
	return out
}

// Every code that athd may answer with has an advice, and every advice is a
// row of the page: a new code without one fails here.
func TestEveryCodeHasAnAdvice(t *testing.T) {
	page, err := os.ReadFile(agentsPage)
	if err != nil {
		t.Fatal(err)
	}
	row := func(name string, a advice) {
		t.Helper()
		if a.cause == "" || a.fix == "" {
			t.Errorf("%s has no advice", name)
			return
		}
		if want := "| `" + name + "` | " + a.cause + " | " + a.fix + " |\n"; !strings.Contains(string(page), want) {
			t.Errorf("%s has no row\n%s", agentsPage, want)
		}
	}
	codes := constants(t, "../../ath/errors.go", "Code")
	for _, code := range codes {
		row(code, advices()[ath.Code(code)])
	}
	why := constants(t, "../../attest/errors.go", "Reason")
	for _, reason := range why {
		row(reason, reasons()[attest.Reason(reason)])
	}
	if len(codes) != len(advices()) || len(codes) < 20 || len(why) != len(reasons()) || len(why) < 10 {
		t.Errorf("%d codes and %d advices, %d reasons and %d advices", len(codes), len(advices()), len(why), len(reasons()))
	}
}

func TestAdviceSaysWhatTheDetailsSay(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal client.Error
		want    string
	}{
		{"the right audience", client.Error{Status: 401, Code: "INVALID_ATTESTATION", Details: map[string]any{"reason": "audience", "expected_audience": []any{"https://gw.example"}}}, "the server wants aud to be https://gw.example; sign for"},
		{"another reason", client.Error{Status: 401, Code: "INVALID_ATTESTATION", Details: map[string]any{"reason": "replay"}}, "a jti of its own"},
		{"a reason of tomorrow", client.Error{Status: 401, Code: "INVALID_ATTESTATION", Details: map[string]any{"reason": "new"}}, "details.reason"},
		{"the client_id", client.Error{Status: 409, Code: "CONFLICT", Details: map[string]any{"client_id": "ath_1"}}, "its client_id is ath_1; "},
		{"when to come back", client.Error{Status: 503, Code: "INTERNAL_ERROR", RetryAfter: 7 * time.Second}, "try again in 7 s"},
		{"an identity host that is away", client.Error{Status: 503, Code: "INTERNAL_ERROR", RetryAfter: 2 * time.Second, Details: map[string]any{"reason": "identity_unreachable"}}, "see that the host of the agent_id is up"},
		{"when there is room", client.Error{Status: 429, Code: "RATE_LIMITED", RetryAfter: 2 * time.Second}, "try again in 2 s"},
		{"a failure that stays", client.Error{Status: 500, Code: "INTERNAL_ERROR"}, "tell the operator the decision_id"},
		{"a grant that ended", client.Error{Status: 401, Code: "TOKEN_INVALID", Details: map[string]any{"reason": "reauthorization_required"}}, "authorize again"},
		{"a code of somebody else", client.Error{Status: 418, Code: "TEAPOT"}, "check that --server"},
		{"words that steer", client.Error{Status: 409, Code: "CONFLICT", Details: map[string]any{"client_id": "\x1b[2J"}}, "its client_id is ?[2J; "},
		{"details of other types", client.Error{Status: 409, Code: "CONFLICT", Details: map[string]any{"client_id": 7, "expected_audience": "x", "unapproved_scopes": []any{1}}}, "go on with that registration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := advised(&c.refusal)
			if text := err.Error(); !strings.Contains(text, "\nnext: ") || !strings.Contains(text, c.want) || strings.ContainsAny(text, "\x1b`") {
				t.Errorf("it says %q", text)
			}
		})
	}
}

// A token goes to its own API and to its own server, and nowhere else.
func TestTokenGoesToItsOwnHostsOnly(t *testing.T) {
	c := newCommand(cli.Terminal{}, &cobra.Command{Use: "call"})
	c.base = "https://gw.example"
	native := &heldToken{API: "https://shop.example/v1"}
	for _, test := range []struct {
		path, want string
	}{
		{"/products?x=1", "https://shop.example/v1/products?x=1"},
		{"/ath/proxy/github/user", "https://gw.example/ath/proxy/github/user"},
		{"https://shop.example/other", "https://shop.example/other"},
		{"https://gw.example/ath/proxy/shop/x", "https://gw.example/ath/proxy/shop/x"},
		{"https://evil.example/", ""}, {"http://shop.example/x", ""}, {"https://shop.example:8443/x", ""},
		{"https://shop.example@evil.example/", ""}, {"https://u:p@shop.example/", ""}, {"products", ""}, {"//shop.example/x", "https://shop.example/v1//shop.example/x"}, {"", ""},
	} {
		got, err := c.target(native, test.path)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q leads to %q, %v", test.path, got, err)
		}
	}
	for _, header := range []string{"Authorization: Bearer x", "authorization: x", "X-ATH-Agent-ID: x", "nothing", ": x"} {
		if (headerFlag{}).Set(header) == nil {
			t.Errorf("%q is taken", header)
		}
	}
}
