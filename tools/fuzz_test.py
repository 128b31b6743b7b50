"""fuzz against real fuzz targets: python3 -m unittest discover -s tools -p '*_test.py'."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent

GOOD = """package good
import ("os"; "path/filepath"; "testing")
func FuzzGood(f *testing.F) {
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		os.WriteFile(filepath.Join(os.Getenv("ATHD_FUZZ_SEEN"), "requests-1"), []byte("42"), 0o600)
	})
}
"""
BAD = """package bad
import "testing"
func FuzzBad(f *testing.F) { f.Add("x"); f.Fuzz(func(t *testing.T, s string) { t.Error("the words of the finding") }) }
"""


class Fuzz(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="athd-fuzz-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "go.mod").write_text("module example.test/some/module\n\ngo 1.26\n")
        (self.root / "tools").mkdir()
        shutil.copy2(TOOLS / "fuzz", self.root / "tools" / "fuzz")
        for name, source in {"good": GOOD, "bad": BAD}.items():
            (self.root / name).mkdir()
            (self.root / name / f"{name}_test.go").write_text(source)

    def fuzz(self, *args):
        done = subprocess.run([sys.executable, self.root / "tools" / "fuzz", *args], capture_output=True, text=True,
                              timeout=120, env={**os.environ, "GOPROXY": "off", "GOFLAGS": "", "GOWORK": "off"})
        return done.returncode, done.stdout + done.stderr

    def test_one_target_and_what_it_did(self):
        status, output = self.fuzz("20x", "FuzzGood")
        self.assertEqual(status, 0, output)
        last = output.splitlines()[-2].split()
        self.assertEqual(last[0], "FuzzGood", output)
        self.assertGreaterEqual(int(last[1]), 20, output)
        self.assertEqual(last[4], "42", output)
        self.assertNotIn("FuzzBad", output)

    def test_a_finding_fails(self):
        status, output = self.fuzz("20x")
        self.assertNotEqual(status, 0)
        self.assertIn("the words of the finding", output)
        self.assertIn("a finding", output)

    def test_an_unknown_target_fails(self):
        status, output = self.fuzz("20x", "FuzzNothing")
        self.assertEqual(status, 1)
        self.assertIn("there is no fuzz target FuzzNothing", output)


if __name__ == "__main__":
    unittest.main()
