"""rules on small modules, and on this repository: python3 -m unittest discover -s tools -p '*_test.py'."""

import importlib.machinery
import importlib.util
import io
import os
import pathlib
import tempfile
import unittest
from contextlib import redirect_stdout
from unittest import mock

TOOLS = pathlib.Path(__file__).resolve().parent
LOADER = importlib.machinery.SourceFileLoader("rules_script", str(TOOLS / "rules"))
RULES = importlib.util.module_from_spec(importlib.util.spec_from_loader("rules_script", LOADER))
LOADER.exec_module(RULES)

DOCS = """# Rules
| ID | Rule | |
|---|---|---|
| A-1 | the first | |
| A-2 | the second | |
| B-1 | the third | waits: for better days |
| C-1 | the fourth | partly: half of it |
"""
GOOD = """package good

import "testing"

// TestMany looks at more than one.
// proves: A-2, C-1
func TestMany(t *testing.T) {}

func TestTable(t *testing.T) {
	for _, name := range []string{"A-1: one", "A-1: two", "P-256 is no rule"} {
		t.Run(name, func(t *testing.T) {
			if name[:3] == "A-1" {
				t.Run("A-1: below", func(*testing.T) {})
			}
		})
	}
	if false {
		t.Error("B-1: only said")
	}
}
"""


class Rules(unittest.TestCase):
    def rules(self, *args, docs=DOCS, source=GOOD, twin=""):
        """The exit status and the output."""
        with tempfile.TemporaryDirectory(prefix="athd-rules-") as name:
            root = pathlib.Path(name)
            (root / "docs").mkdir()
            (root / "docs" / "protocol.md").write_text(docs)
            (root / "go.mod").write_text("module example.test/some/module\n\ngo 1.26\n")
            (root / "good").mkdir()
            (root / "good" / "good_test.go").write_text(source)
            if twin:
                (root / "twin").mkdir()
                (root / "twin" / "twin_test.go").write_text(twin)
            out, before = io.StringIO(), os.getcwd()
            os.chdir(root)
            try:
                with redirect_stdout(out), mock.patch.dict(os.environ, {"GOPROXY": "off", "GOFLAGS": "-vet=off", "GOWORK": "off"}):
                    status = RULES.main(list(args), root)
            finally:
                os.chdir(before)
            return status, out.getvalue()

    def test_each_rule_with_its_tests(self):
        status, out = self.rules("-a", "./...")
        self.assertEqual(status, 0, out)
        for line in ("A-1  passed   the first", "     passed   good TestTable/A-1:_one", "     passed   good TestTable/A-1:_two",
                     "A-2  passed   the second", "     passed   good TestMany", "B-1  waits    the third", "     for better days",
                     "     half of it", "2 passed, 1 partly, 1 waits"):
            self.assertIn(line + "\n", out)
        self.assertNotIn("below", out)  # its parent has said it

    def test_a_failing_test_fails_its_rule(self):
        status, out = self.rules("./...", source=GOOD.replace("func(*testing.T) {}", 'func(t *testing.T) { t.Error("no") }'))
        self.assertEqual(status, 1)
        self.assertIn("A-1  FAILED   the first\n     FAIL     good TestTable/A-1:_one\n", out)
        self.assertIn("A-2  passed", out)

    def test_numbers_of_cases_may_stand_before_a_claim(self):
        status, out = self.rules("-a", "./...", source=GOOD.replace("// proves:", "// F-1, S-2; proves:"))
        self.assertEqual(status, 0, out)
        self.assertIn("A-2  passed   the second", out)

    def test_a_skipped_test_proves_nothing(self):
        status, out = self.rules("./...", source=GOOD.replace("TestMany(t *testing.T) {}", 'TestMany(t *testing.T) { t.Skip("later") }'))
        self.assertEqual(status, 1)
        self.assertIn("A-2  MISSING", out)
        self.assertIn("     SKIP     good TestMany", out)

    def test_a_rule_without_a_test_is_missing(self):
        for args in (["./..."], ["--names"]):
            status, out = self.rules(*args, source=GOOD.replace("A-2, ", ""))
            self.assertEqual(status, 1)
            self.assertIn("A-2", out)

    def test_a_panic_is_no_pass(self):
        status, out = self.rules("./...", source=GOOD.replace("TestMany(t *testing.T) {}", 'TestMany(t *testing.T) { panic("x") }'))
        self.assertEqual(status, 1)
        self.assertNotIn("A-2  passed", out)

    def test_a_claim_is_its_packages_own(self):
        twin = "package twin\nimport \"testing\"\nfunc TestMany(t *testing.T) {}\n"
        status, out = self.rules("-a", "./...", twin=twin)
        self.assertEqual(status, 0, out)
        self.assertNotIn("twin TestMany", out)

    def test_no_test_names_a_rule_that_does_not_exist(self):
        status, out = self.rules("--names", source=GOOD.replace("A-1: two", "A-9: two"))
        self.assertEqual(status, 1)
        self.assertIn("A-9 is no rule, but good/good_test.go names it", out)

    def test_words_of_a_failure_name_nothing(self):
        status, out = self.rules("--names", docs=DOCS.replace("waits: for better days", ""))
        self.assertEqual(status, 1)
        self.assertIn("B-1 has no test that names it", out)

    def test_a_malformed_document_or_claim_is_told(self):
        for change in ({"docs": "nothing"}, {"docs": DOCS + "| A-1 | again | |\n"}, {"docs": DOCS + "| D-1 | x | later |\n"},
                       {"source": GOOD.replace("A-2, C-1", "A-2 and C-1")}):
            with self.assertRaises(ValueError):
                self.rules("--names", **change)

    def test_a_log_is_read(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            for test in ("TestMany", "TestTable/A-1:_one"):
                log.write('{"Action":"pass","Package":"example.test/some/module/good","Test":"%s"}\n' % test)
            log.flush()
            status, out = self.rules("--log", log.name)
        self.assertEqual(status, 0, out)
        self.assertIn("2 passed, 1 partly, 1 waits", out)

    def test_this_repository_names_every_rule(self):
        out = io.StringIO()
        with redirect_stdout(out):
            status = RULES.main(["--names"])
        self.assertEqual(status, 0, out.getvalue())


if __name__ == "__main__":
    unittest.main()
