package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// eachFile calls f with each Go file of the product that is no test.
func eachFile(t *testing.T, f func(path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	read := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != "../.." || d.Name() == "testdata" || path == "../../test"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		read++
		f(strings.TrimPrefix(filepath.ToSlash(path), "../../"), set, file)
		return nil
	})
	if err != nil || read < 100 {
		t.Fatalf("%d files were read: %v", read, err)
	}
}

// A path that athd answers stands in the table of ath/paths.go and nowhere else.
// Sentences may name one.
func TestPathsAreWrittenOnce(t *testing.T) {
	ours := regexp.MustCompile(`^/ath($|/)|/\.well-known/ath|^[^ ]*\(?/ath/`)
	eachFile(t, func(path string, set *token.FileSet, file *ast.File) {
		if path == "ath/paths.go" {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if _, ok := n.(*ast.ImportSpec); ok {
				return false
			}
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(lit.Value); err == nil && !strings.ContainsAny(text, " \n") && ours.MatchString(text) {
				t.Errorf("%s: %s: use ath/paths.go", set.Position(lit.Pos()), lit.Value)
			}
			return true
		})
	})
}

// What may stand in URLs, headers and lines is defined in ath/ascii.go. audit
// and provider look at bytes for more than that.
func TestASCIIIsComparedInOnePlace(t *testing.T) {
	others := map[string]bool{
		"ath/ascii.go": true, "ath/host.go": true, "ath/segment.go": true,
		"audit/line.go":     true, // what needs an escape in a line of the audit log
		"provider/check.go": true, // control characters in names, which may be of any script
	}
	bounds := map[string]bool{"' '": true, "'~'": true, "0x7f": true, "0x7F": true, "0x20": true}
	order := map[token.Token]bool{token.LSS: true, token.LEQ: true, token.GTR: true, token.GEQ: true}
	eachFile(t, func(path string, set *token.FileSet, file *ast.File) {
		if others[path] {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				for _, side := range []ast.Expr{n.X, n.Y} {
					if lit, ok := side.(*ast.BasicLit); ok && order[n.Op] && bounds[lit.Value] {
						t.Errorf("%s: compares with %s: use ath/ascii.go", set.Position(n.Pos()), lit.Value)
					}
				}
			case *ast.BasicLit:
				if strings.Contains(n.Value, "<>^`{|}") {
					t.Errorf("%s: lists what no URL may hold: use ath/ascii.go", set.Position(n.Pos()))
				}
			}
			return true
		})
	})
}
