package tokenstore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A kind that is not among the forms would be neither counted when a key is to go,
// nor sealed again.
func TestEveryKindHasAForm(t *testing.T) {
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			value, is := n.(*ast.ValueSpec)
			if !is {
				return true
			}
			if of, is := value.Type.(*ast.Ident); is && of.Name == "kind" {
				for i := range value.Names {
					declared[strings.Trim(value.Values[i].(*ast.BasicLit).Value, `"`)] = true
				}
			}
			return true
		})
	}
	if len(declared) < 15 {
		t.Fatalf("only %d kinds were found", len(declared))
	}
	for name := range declared {
		if _, ok := formOf(kind(name)); !ok {
			t.Errorf("%s has no form: kinds.go says what stands at its keys", name)
		}
	}
	seen := map[kind]bool{}
	for _, f := range forms {
		if seen[f.kind] || !declared[string(f.kind)] {
			t.Errorf("the form of %s is there twice, or of no kind", f.kind)
		}
		seen[f.kind] = true
	}
}
