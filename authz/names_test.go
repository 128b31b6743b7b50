package authz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Whoever greps the code for a reason that a dashboard shows finds its constant:
// both are the same words.
func TestReasonsAreNamedAsTheyAreWritten(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "decision.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		found++
		wire, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if name := spec.Names[0].Name; strings.ToLower(name) != strings.ReplaceAll(wire, "_", "") {
			t.Errorf("%s is written %q", name, wire)
		}
		return true
	})
	if found != len(Reasons()) {
		t.Errorf("%d constants, and %d reasons", found, len(Reasons()))
	}
}
