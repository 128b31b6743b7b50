// Package paths shows that a path which athd answers is one row of a table.
package paths

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A new path is one row of the table: with it alone the companion, the check
// in meshes, Envoy's routes and what is verified of them have it.
func TestNewPathIsOneRowOfTheTable(t *testing.T) {
	const table = "var paths = []Path{\n"
	source, err := os.ReadFile("../../../ath/paths.go")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), table) != 1 {
		t.Fatal("the table of paths is not where this test adds a row")
	}
	added := map[string]string{
		"/ath/account":     `{Path: PathRoot + "/account", Kind: PathHandshake, On: OnPublic},`,
		"/ath/own/":        `{Path: PathRoot + "/own/", Kind: PathAdmin, On: OnPublic},`,
		"/ath/consent/all": `{Path: PathRoot + "/consent/all", Kind: PathConsent, On: OnConsent},`,
	}
	edited := string(source)
	for _, row := range added {
		edited = strings.Replace(edited, table, table+"\t"+row+"\n", 1)
	}
	dir := t.TempDir()
	replacement := filepath.Join(dir, "paths.go")
	original, err := filepath.Abs("../../../ath/paths.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"paths.go": edited, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]string{
		"./authz":        "TestEveryPathPassesOnItsOriginInMeshes",
		"./athflow":      "TestEveryPathBelongsToItsOrigin",
		"./envoy/verify": "TestEveryPathHasItsRoute",
	}
	for pkg, name := range tests {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-v", "-overlay", filepath.Join(dir, "overlay.json"), "-run", "^"+name+"$", pkg)
		cmd.Dir = "../../.."
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", pkg, err, out)
		}
		for path := range added {
			if !strings.Contains(string(out), "--- PASS: "+name+"/"+path+" (") {
				t.Errorf("%s does not follow the row of %s", pkg, path)
			}
		}
	}
}
