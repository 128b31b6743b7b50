"""Every mutant still applies to the tree: one that does not proves nothing."""

import pathlib
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Patches(unittest.TestCase):
    def test_each_applies(self):
        patches = sorted((ROOT / "test/mutants").glob("*.patch"))
        self.assertGreaterEqual(len(patches), 10)
        for patch in patches:
            with self.subTest(patch=patch.name):
                done = subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
