"""snapshot's checks, on small archives that are wrong in one way each: python3 -m unittest discover -s tools -p '*_test.py'."""

import copy
import hashlib
import importlib.machinery
import importlib.util
import io
import json
import pathlib
import sys
import tarfile
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent


def script(path):
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.name, loader))
    loader.exec_module(module)
    return module


snapshot, sbom = script(TOOLS / "snapshot"), script(TOOLS / "release/sbom")

NAME = "athd_1.2.3_linux_amd64"
PROGRAM = b"\x7fELF" + bytes(1 << 20)


def archive(folder, leave=(), mode=0o755, owner="root", program=PROGRAM):
    path = pathlib.Path(folder) / (NAME + ".tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        for inside in snapshot.PROGRAMS + snapshot.BESIDE:
            if inside in leave:
                continue
            is_program = inside in snapshot.PROGRAMS
            content = program if is_program else b"text"
            entry = tarfile.TarInfo(f"{NAME}/{inside}")
            entry.size, entry.uname, entry.gname = len(content), owner, owner
            entry.mode = mode if is_program else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return path


class Checks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def refused(self, said, check, *args):
        with self.assertRaisesRegex(snapshot.Wrong, said):
            check(*args)

    def test_an_archive_holds_the_programs_and_what_belongs_to_them(self):
        programs = snapshot.check_archive(archive(self.folder), ["/home/somebody"])
        self.assertEqual(list(programs), snapshot.PROGRAMS)
        for change, said in [
            ({"leave": ["LICENSE"]}, "holds"), ({"leave": ["completions/athctl.zsh"]}, "holds"), ({"mode": 0o644}, "mode 644"),
            ({"owner": "somebody"}, "of somebody"), ({"program": b"small"}, "5 bytes"),
            ({"program": PROGRAM + b"/home/somebody/athd/main.go"}, "names /home/somebody"),
        ]:
            with self.subTest(said=said):
                self.refused(said, snapshot.check_archive, archive(self.folder, **change), ["/home/somebody"])

    def test_checksums_are_those_of_all_files_and_no_others(self):
        (self.folder / "a").write_text("a")
        line = f"{hashlib.sha256(b'a').hexdigest()}  a\n"
        (self.folder / snapshot.SUMS).write_text(line)
        snapshot.check_sums(self.folder)
        for text in ("", line.replace("  a", "  b"), line + line.replace("  a", "  b"), "0" * 64 + "  a\n"):
            (self.folder / snapshot.SUMS).write_text(text)
            self.refused("checksums.txt says", snapshot.check_sums, self.folder)

    def test_an_sbom_names_what_is_linked(self):
        path = self.folder / "x.spdx.json"
        ours = {"name": snapshot.OURS, "versionInfo": "UNKNOWN", "externalRefs": [{"referenceLocator": sbom.PURL}, {"referenceLocator": "cpe:2.3"}]}
        document = {"spdxVersion": "SPDX-2.3", "packages": [{"name": "a"}, ours, copy.deepcopy(ours)]}
        path.write_text(json.dumps(document))
        self.refused("calls athd", snapshot.check_sbom, path, {"a"}, "v1.2.3")
        path.write_text(json.dumps(sbom.versioned(document, "v1.2.3")))
        self.assertEqual(snapshot.check_sbom(path, {"a"}, "v1.2.3"), 2)
        self.refused("leaves out ..c", snapshot.check_sbom, path, {"a", "c"}, "v1.2.3")
        self.refused("calls athd", snapshot.check_sbom, path, {"a"}, "v1.2.4")
        path.write_text(json.dumps({"packages": []}))
        self.refused("no SPDX document", snapshot.check_sbom, path, set(), "v1.2.3")

    def test_a_binary_says_its_version_and_commit(self):
        program = f"#!{sys.executable}\nprint('athd v1.2.3\\nrevision 0123')\n".encode()
        self.assertEqual(snapshot.check_version("athd", program, "v1.2.3", "0123", self.folder), "athd v1.2.3\nrevision 0123\n")
        for version, revision in (("v1.2.4", "0123"), ("v1.2.3", "4567")):
            self.refused("athd version says", snapshot.check_version, "athd", program, version, revision, self.folder)

    def test_four_systems_are_expected(self):
        names = snapshot.expected("v1.2.3")
        self.assertEqual(len(names), 9)
        self.assertIn("athd_1.2.3_darwin_arm64.tar.gz.spdx.json", names)


if __name__ == "__main__":
    unittest.main()
