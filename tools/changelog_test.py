"""changelog on texts, on a tree, and on the tree that it is in: python3 -m unittest discover -s tools -p '*_test.py'."""

import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
ROOT = TOOLS.parent

loader = importlib.machinery.SourceFileLoader("changelog", str(TOOLS / "changelog"))
changelog = importlib.util.module_from_spec(importlib.util.spec_from_loader("changelog", loader))
loader.exec_module(changelog)

FIRST = "# Changelog\n\nWords.\n\n## Unreleased\n\n### Important\n\n- Do that.\n\n### Added\n\n- This.\n"
IMAGES = "images:\n  - {name: athd, newName: ghcr.io/athd/athd, newTag: devel}\n"
KINDS = ["Important", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def tree(folder, text=FIRST, images=IMAGES):
    root = pathlib.Path(folder)
    (root / "CHANGELOG.md").write_text(text)
    for name in changelog.OVERLAYS:
        (root / "deploy/kubernetes/overlays" / name).mkdir(parents=True, exist_ok=True)
        (root / "deploy/kubernetes/overlays" / name / "kustomization.yaml").write_text(images)
    return root


class Release(unittest.TestCase):
    def test_what_is_unreleased_becomes_the_version_and_the_image(self):
        with tempfile.TemporaryDirectory() as folder:
            root = tree(folder)
            changed = changelog.release(root, "v0.1.0", "2026-12-01")
            self.assertEqual(len(changed), 1 + len(changelog.OVERLAYS))
            text = (root / "CHANGELOG.md").read_text()
            self.assertEqual(text, FIRST.replace("## Unreleased\n", "## Unreleased\n\n## v0.1.0 - 2026-12-01\n"))
            after = changelog.Changelog(text)
            self.assertEqual(after.newest(), "v0.1.0")
            self.assertEqual(after.notes("v0.1.0"), "### Important\n\n- Do that.\n\n### Added\n\n- This.\n")
            self.assertEqual(after.notes("Unreleased"), "\n")
            for path in changed[1:]:
                self.assertEqual((root / path).read_text(), IMAGES.replace("devel", "v0.1.0"))

    def test_nothing_is_changed_where_something_is_wrong(self):
        done = FIRST.replace("## Unreleased\n", "## Unreleased\n\n- More.\n\n## v0.2.0 - 2026-12-01\n")
        for version, text, images, said in [
            ("0.1.0", FIRST, IMAGES, "want a version"),
            ("v0.1", FIRST, IMAGES, "want a version"),
            ("v01.1.0", FIRST, IMAGES, "want a version"),
            ("v0.2.0", done, IMAGES, "not newer than v0.2.0"),
            ("v0.2.0-rc.1", done, IMAGES, "not newer than v0.2.0"),
            ("v0.3.0", done.replace("- More.\n\n", ""), IMAGES, "nothing is unreleased"),
            ("v0.1.0", FIRST, "images: []\n", "found 0"),
            ("v0.1.0", "# Changelog\n", IMAGES, "not ## Unreleased"),
        ]:
            with self.subTest(version=version, said=said), tempfile.TemporaryDirectory() as folder:
                root = tree(folder, text, images)
                with self.assertRaisesRegex(changelog.Wrong, said):
                    changelog.release(root, version, "2026-12-02")
                self.assertEqual((root / "CHANGELOG.md").read_text(), text)
                for name in changelog.OVERLAYS:
                    self.assertEqual((root / "deploy/kubernetes/overlays" / name / "kustomization.yaml").read_text(), images)

    def test_versions_have_an_order(self):
        versions = ["devel", "v0.1.0-rc.2", "v0.1.0-rc.10", "v0.1.0", "v0.1.1", "v0.2.0", "v0.10.0", "v1.0.0"]
        self.assertEqual(sorted(reversed(versions), key=changelog.order), versions)

    def test_the_command_prints_and_says_what_is_wrong(self):
        run = lambda *args: subprocess.run([sys.executable, TOOLS / "changelog", *args], capture_output=True, text=True)  # noqa: E731
        self.assertTrue(run("notes", "Unreleased").stdout.startswith("### ") or run("newest").stdout != "devel\n")
        wrong = run("notes", "v99.0.0")
        self.assertEqual((wrong.returncode, wrong.stderr), (1, "CHANGELOG.md has no section v99.0.0\n"))
        self.assertEqual(run().returncode, 2)


class ThisChangelog(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "CHANGELOG.md").read_text()
        self.changelog = changelog.Changelog(self.text)

    def test_sections_are_versions_newest_first(self):
        heads = re.findall(r"(?m)^## .*$", self.text)
        self.assertEqual(len(heads), len(self.changelog.sections), f"{heads}: want ## Unreleased and ## v1.2.3 - 2026-12-01")
        versions = [name for name in self.changelog.sections if name != "Unreleased"]
        self.assertEqual(versions, sorted(versions, key=changelog.order, reverse=True))

    def test_parts_are_those_of_keep_a_changelog_and_important_is_first(self):
        for name, section in self.changelog.sections.items():
            kinds = re.findall(r"(?m)^### (.*)$", section)
            self.assertEqual(kinds, [kind for kind in KINDS if kind in kinds], f"{name}: want each once, of and in the order of {KINDS}")
            for part in re.split(r"(?m)^### .*$", section)[1:]:
                for line in filter(None, part.splitlines()):
                    self.assertRegex(line, r"^(- |  )\S", f"{name}: {line!r} is no item")

    def test_manifests_name_the_image_of_the_newest_version(self):
        for name in changelog.OVERLAYS:
            text = (ROOT / "deploy/kubernetes/overlays" / name / "kustomization.yaml").read_text()
            self.assertEqual(text, changelog.with_image(text, self.changelog.newest()), f"{name}: tools/changelog release sets it")


if __name__ == "__main__":
    unittest.main()
