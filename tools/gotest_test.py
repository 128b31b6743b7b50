"""gotest against a real go test: python3 -m unittest discover -s tools -p '*_test.py'."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent

GOOD = """package good
import "testing"
func TestOne(t *testing.T) {}
func TestTable(t *testing.T) { for _, n := range []string{"a", "b/c", "d"} { t.Run(n, func(t *testing.T) {}) } }
func FuzzSeeds(f *testing.F) { f.Add("x"); f.Add("y"); f.Fuzz(func(t *testing.T, s string) {}) }
"""
BAD = """package bad
import "testing"
func TestLeaf(t *testing.T) { t.Run("fine", func(t *testing.T) {}); t.Run("broken", func(t *testing.T) { t.Error("the words of the leaf") }) }
func TestParent(t *testing.T) { t.Run("fine", func(t *testing.T) {}); t.Error("the words of the parent") }
"""
PANIC = """package panics
import "testing"
func TestBefore(t *testing.T) {}
func TestPanics(t *testing.T) { t.Run("sub", func(t *testing.T) { panic("boom goes the test") }) }
"""
SKIP = """package skips
import "testing"
func TestFine(t *testing.T) {}
func TestBrowser(t *testing.T) { t.Skip("no chromium here") }
"""
MAIN = """package dies
import ("os"; "testing"; "fmt")
func TestFine(t *testing.T) {}
func TestMain(m *testing.M) { m.Run(); fmt.Println("the cleaning up went wrong"); os.Exit(3) }
"""


class GoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="athd-gotest-")
        cls.addClassCleanup(cls.folder.cleanup)
        root = pathlib.Path(cls.folder.name)
        (root / "go.mod").write_text("module example.test/some/module\n\ngo 1.26\n")
        for name, source in {"good": GOOD, "bad": BAD, "panics": PANIC, "skips": SKIP, "dies": MAIN,
                             "unbuilt": "package unbuilt\nvar x Nothing\n"}.items():
            (root / name).mkdir()
            (root / name / f"{name}_test.go").write_text(source)
        (root / "empty").mkdir()
        (root / "empty" / "empty.go").write_text("package empty\n")

    def gotest(self, *args, skip=""):
        """The exit status, the whole output and its last line."""
        done = subprocess.run(
            [sys.executable, TOOLS / "gotest", *args], cwd=self.folder.name, capture_output=True, text=True, timeout=120,
            env={**os.environ, "ATHD_TEST_SKIP": skip, "GOPROXY": "off", "GOFLAGS": "-vet=off", "GOWORK": "off"})
        return done.returncode, done.stdout + done.stderr, done.stdout.splitlines()[-1]

    def test_counts_tests_without_subtests(self):
        status, out, last = self.gotest("./good")
        self.assertEqual((status, last), (0, "6 passed, 0 failed, 0 skipped"), out)
        self.assertRegex(out, r"fuzz targets whose seeds ran: .*good\.FuzzSeeds \(2\)")
        self.assertRegex(out, r"ok   example\.test/some/module/good [\d.]+ s: 6 passed")

    def test_a_failure_shows_its_words_and_its_status(self):
        status, out, last = self.gotest("./bad")
        self.assertEqual((status, last), (1, "2 passed, 2 failed, 0 skipped"), out)
        self.assertIn("the words of the leaf", out)
        self.assertIn("the words of the parent", out)

    def test_a_panic_fails_the_test_that_ran(self):
        status, out, last = self.gotest("./panics")
        self.assertEqual((status, last), (1, "1 passed, 1 failed, 0 skipped"), out)
        self.assertIn("boom goes the test", out)

    def test_a_package_that_fails_without_a_failing_test_counts(self):
        for package, words in (("unbuilt", "undefined: Nothing"), ("dies", "the cleaning up went wrong")):
            with self.subTest(package):
                status, out, last = self.gotest(f"./{package}")
                self.assertEqual(status, 1, out)
                self.assertIn(" 1 failed, ", last)
                self.assertIn(words, out)

    def test_a_skip_must_be_asked_for(self):
        for skip, want in (("", 1), ("redis", 1), ("chromium", 0), ("redis, chromium", 0)):
            with self.subTest(skip=skip):
                status, out, last = self.gotest("./skips", skip=skip)
                self.assertEqual((status, last), (want, "1 passed, 0 failed, 1 skipped"), out)

    def test_nothing_to_run_is_a_failure(self):
        for args in (["./empty"], ["./nosuch"], ["-run", "^$", "./good"], ["--stage", "a: b", "./good", "--stage", "c: d", "./empty"]):
            with self.subTest(args=args):
                status, out, _ = self.gotest(*args)
                self.assertNotEqual(status, 0, out)

    def test_stages_are_announced_and_counted_together(self):
        status, out, last = self.gotest("-count=1", "--stage", "one: the first", "./bad", "--stage", "two: the second", "./good")
        self.assertEqual((status, last), (1, "8 passed, 2 failed, 0 skipped"), out)
        self.assertEqual(re.findall("^== .*", out, re.M), ["== one: the first ==", "== two: the second =="])


if __name__ == "__main__":
    unittest.main()
