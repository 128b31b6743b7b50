"""setup and its parts, offline: python3 -m unittest discover -s tools -p '*_test.py'."""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))

from parts import clients, debian, lint, node, oauth, run, shelf, spring, toolchain, wheel  # noqa: E402


def program(path, words):
    """A program that says these words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)
    return path


ENVOY = "envoy  version: 1234abcd/1.40.0/Clean/RELEASE/BoringSSL"
OTHER_ENVOY = "envoy  version: 1234abcd/1.39.1/Clean/RELEASE/BoringSSL"
REDIS = "Redis server v=7.2.4 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"


# Runs setup by a Python that seems to have no pip, so that nothing can be fetched.
START = """import os, runpy, sys
sys.executable, sys.argv = '/no/python3', sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name='__main__')
"""


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="athd-setup-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()


class Setup(InFolder):
    """The command in a checkout of its own, on a PATH without package managers."""

    def setUp(self):
        super().setUp()
        self.checkout, self.path = self.folder / "checkout", self.folder / "path"
        shutil.copytree(TOOLS, self.checkout / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        self.path.mkdir()
        for name in ("sh", "dirname", "readlink"):
            (self.path / name).symlink_to(shutil.which(name))

    def setup(self, *args, **env):
        return subprocess.run(
            [sys.executable, "-c", START, self.checkout / "tools/setup", *args],
            env={"PATH": str(self.path), **env}, capture_output=True, text=True, timeout=60)

    def ok(self, *args, **env):
        done = self.setup(*args, **env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, *args, **env):
        done = self.setup(*args, **env)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def runs(self, name):
        return subprocess.run([self.checkout / ".tools/bin" / name], capture_output=True, text=True, timeout=10).stdout.strip()

    def test_parts_of_the_right_version_are_taken_from_path(self):
        program(self.path / "envoy", ENVOY)
        program(self.path / "redis-server", REDIS)
        out = self.ok("envoy", "redis")
        self.assertRegex(out, r"(?m)^envoy +1\.40\.0 +.*/\.tools/bin/envoy -> .*/path/envoy$")
        self.assertRegex(out, r"(?m)^redis +7\.2\.4 +.*/\.tools/bin/redis-server -> ")
        self.assertEqual((self.runs("envoy"), self.runs("redis-server")), (ENVOY, REDIS))
        self.assertEqual(self.ok("envoy", "redis"), out)

    def test_a_part_of_another_version_is_not_taken(self):
        program(self.path / "envoy", OTHER_ENVOY)
        program(self.path / "redis-server", "Redis server v=6.2.1 sha=00000000:0")
        self.assertIn("envoy: none on PATH that fits; fetching it", self.refused("envoy"))
        self.assertIn("install redis-server 7 or newer", self.refused("redis"))
        self.assertFalse((self.checkout / ".tools/bin").exists())

    def test_a_part_that_the_system_upgrades_is_looked_at_again(self):
        program(self.path / "envoy", ENVOY)
        self.ok("envoy")
        program(self.path / "envoy", OTHER_ENVOY + " ")
        self.assertIn("fetching it", self.refused("envoy"))

    def test_athd_envoy_goes_first_and_must_fit(self):
        program(self.path / "envoy", ENVOY)
        self.ok("envoy")
        mine = program(self.folder / "mine", ENVOY)
        self.assertIn(f"-> {mine}", self.ok("envoy", ATHD_ENVOY=str(mine)))
        self.assertEqual(os.path.realpath(self.checkout / ".tools/bin/envoy"), str(mine))
        self.assertIn("/path/envoy", self.ok("envoy"))
        program(mine, OTHER_ENVOY)
        self.assertIn("says that it is 1.39.1, not Envoy 1.40.0", self.refused("envoy", ATHD_ENVOY=str(mine)))
        self.assertIn("which is no program", self.refused("envoy", ATHD_ENVOY="/nowhere/envoy"))

    def test_a_linter_of_the_pinned_version_is_taken_from_path(self):
        said = "golangci-lint has version %s built with go%s from abc on 2026-01-01"
        program(self.path / "golangci-lint", said % (lint.pinned(), "1.99.0"))
        out = self.ok("lint")
        self.assertRegex(out, r"(?m)^lint +" + re.escape(lint.pinned()) + r" +.*/\.tools/bin/golangci-lint -> .*/path/golangci-lint$")
        self.assertEqual(self.ok("lint"), out)
        program(self.path / "golangci-lint", said % ("2.0.1", "1.99.0") + " ")
        self.assertIn("lint: none on PATH that fits; fetching it", self.refused("lint"))

    def test_a_linter_that_an_older_go_built_is_not_taken(self):
        program(self.path / "go", "go1.26.8")
        program(self.path / "golangci-lint", f"golangci-lint has version {lint.pinned()} built with go1.25.3 from abc on 2026-01-01")
        self.assertIn("lint: none on PATH that fits; fetching it", self.refused("lint"))
        program(self.path / "golangci-lint", f"golangci-lint has version v{lint.pinned()} built with go1.26.1 from abc on 2026-01-01")
        self.assertIn("/path/golangci-lint", self.ok("lint"))

    def test_the_linter_is_built_again_when_its_pin_changes(self):
        before = lint.wanted()
        self.assertEqual(before, lint.WANTED)
        self.assertRegex(lint.pinned(), r"^2\.\d+\.\d+$")
        kept = lint.MODULE
        self.addCleanup(setattr, lint, "MODULE", kept)
        lint.MODULE = self.folder
        for change in ("go.mod", "go.sum"):
            for name in ("go.mod", "go.sum"):
                shutil.copy(kept / name, self.folder)
            self.assertEqual(before, lint.wanted())
            text = (self.folder / change).read_text()
            (self.folder / change).write_text(text.replace(f"golangci-lint/v2 v{lint.pinned()}", "golangci-lint/v2 v2.99.0"))
            self.assertNotEqual(before, lint.wanted())

    def test_what_is_to_be_left_out_is_said(self):
        out = self.ok("redis", "chromium", ATHD_TEST_SKIP="chromium,redis")
        self.assertEqual(out.count("left out (ATHD_TEST_SKIP)"), 2)
        for name in ("clients", "oauth"):
            self.assertIn("left out", self.ok(name, ATHD_TEST_SKIP=name))
        self.assertIn("ATHD_TEST_SKIP names chrome", self.refused("envoy", ATHD_TEST_SKIP="chrome"))

    def test_all_missing_tools_are_named(self):
        said = self.refused("toolchain")
        for words in ("no go found; install Go 1.26 or newer", "no git found; install git", "no make found; install make",
                      "no C compiler found; install gcc (the race detector needs it)"):
            self.assertIn(f"athd set-up: {words}\n", said)

    def test_a_set_up_that_is_ready_does_not_wait_for_another(self):
        program(self.path / "envoy", ENVOY)
        self.ok("envoy")
        with open(self.checkout / ".tools/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.ok("envoy")

    def test_what_a_killed_set_up_left_goes(self):
        program(self.path / "envoy", ENVOY)
        left = self.checkout / ".tools/tmp-left"
        left.mkdir(parents=True)
        self.ok("envoy")
        self.assertFalse(left.exists())


class Shelf(InFolder):
    def setUp(self):
        super().setUp()
        self.shelf = shelf.Shelf(self.folder / "a" / ".tools")
        binary = program(self.shelf.root / "part-1" / "real", "real")
        wrapper = program(self.shelf.root / "part-1" / "part", "wrapper")
        self.found = shelf.Found(version="1", programs={"part": wrapper}, binary=binary)
        self.shelf.note("part", "1", self.found)
        self.shelf.link(self.found)

    def test_a_note_holds_for_what_was_asked(self):
        self.assertEqual(self.shelf.noted("part", "1"), self.found)
        self.assertIsNone(self.shelf.noted("part", "2"))
        self.assertIsNone(self.shelf.noted("other", "1"))

    def test_a_note_is_void_when_a_file_is_truncated_or_gone(self):
        self.found.binary.write_text("")
        self.assertIsNone(self.shelf.noted("part", "1"))
        self.found.binary.unlink()
        self.assertIsNone(self.shelf.noted("part", "1"))

    def test_a_broken_note_is_none(self):
        for text in ("", "{", "[]", "{}", '{"version": 1, "programs": []}'):
            (self.shelf.root / "part.json").write_text(text)
            self.assertIsNone(self.shelf.noted("part", "1"), text)

    def test_a_checkout_that_moved_still_serves(self):
        (self.folder / "a").rename(self.folder / "b")
        moved = shelf.Shelf(self.folder / "b" / ".tools")
        found = moved.noted("part", "1")
        self.assertTrue(moved.linked(found))
        self.assertEqual(found.programs["part"], moved.root / "part-1/part")

    def test_publishing_replaces_what_is_broken(self):
        with self.shelf.scratch() as scratch:
            program(scratch / "built" / "part", "new")
            self.shelf.publish(scratch / "built", "part-1")
        self.assertEqual([path.name for path in (self.shelf.root / "part-1").iterdir()], ["part"])
        self.assertEqual(list(self.shelf.root.glob("tmp-*")), [])

    def test_only_one_at_a_time(self):
        told = []
        with self.shelf.locked(told.append):
            with self.assertRaisesRegex(run.SetupError, "another set-up has held"):
                with self.shelf.locked(told.append, patience=0.3):
                    pass
        self.assertEqual(told, ["another set-up is at work; waiting for it"])
        with self.shelf.locked(told.append):
            pass


class Run(InFolder):
    def test_a_command_that_hangs_ends_with_its_children(self):
        mark = self.folder / "mark"
        with self.assertRaisesRegex(run.SetupError, "sh did not finish within 0.3 s"):
            run.run(["sh", "-c", f"(sleep 1; touch {mark}) & wait"], 0.3)
        time.sleep(1.2)
        self.assertFalse(mark.exists())

    def test_a_failure_brings_the_last_lines(self):
        with self.assertRaises(run.SetupError) as caught:
            run.run(["sh", "-c", "seq 1 50; echo the reason >&2; exit 3"], 10)
        self.assertIn("sh failed with status 3", str(caught.exception))
        self.assertEqual(caught.exception.tail.splitlines()[-2:], ["50", "the reason"])

    def test_a_download_is_tried_three_times(self):
        count = self.folder / "count"
        script = f"echo x >>{count}; [ $(wc -l <{count}) -ge %d ] && echo got it"
        self.assertEqual(run.download(["sh", "-c", script % 3], 10, pause=0), "got it\n")
        count.unlink()
        with self.assertRaisesRegex(run.SetupError, "3 tries"):
            run.download(["sh", "-c", script % 4], 10, pause=0)


class Packages(InFolder):
    DEPENDS = """app
  Depends: libc6
 |Depends: liba
  Depends: libb
  PreDepends: init
  Depends: <libvirtual>
    libreal
  Depends: libforeign:i386
liba
  Depends: libdeep
  Depends: app-data
libdeep
  Depends: libc6
libb
libc6
init
  Depends: perl
app-data
<libvirtual>
libreal
libforeign:i386
"""

    def test_the_closure_follows_libraries_and_first_alternatives(self):
        graph = debian.parse_depends(self.DEPENDS)
        self.assertEqual(graph["app"], ["libc6", "liba", "init"])
        self.assertEqual(debian.libraries(graph, ["app"]), ["app", "liba", "libdeep"])

    def test_apt_is_configured_as_the_system_but_for_places_and_hooks(self):
        dump = 'Acquire::http::Proxy "x";\nDir::State::lists "lists/";\nAPT::Update::Post-Invoke:: "rm -rf";\n' \
               'DPkg::Post-Invoke:: "rm -rf";\nAcquire::IndexTargets::deb::DEP-11::MetaKey "x";'
        config = debian.own_config(dump, self.folder)
        self.assertIn('Acquire::http::Proxy "x";', config)
        self.assertNotIn("rm -rf", config)
        self.assertNotIn("DEP-11", config)
        self.assertGreater(config.index(f'Dir::State::Lists "{self.folder}/lists";'), config.index('"lists/"'))

    def test_a_wheel_of_another_digest_is_refused(self):
        path = self.folder / "some.whl"
        path.write_bytes(b"hello")
        wheel.check(path, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        path.write_bytes(b"hellp")
        with self.assertRaisesRegex(run.SetupError, "pinned is 2cf24"):
            wheel.check(path, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")


class Clients(InFolder):
    """The choice of a Node, among fakes."""

    def setUp(self):
        super().setUp()
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        os.environ["PATH"] = f"{self.folder}/one:{self.folder}/two:/bin"
        self.shelf = shelf.Shelf(self.folder / ".tools")
        program(self.folder / "one" / "node", "v18.20.4")
        program(self.folder / "one" / "npm", "9.2.0")

    def test_the_first_node_that_fits_is_taken(self):
        found = program(self.folder / "two" / "node", "v20.20.2")
        npm = program(self.folder / "two" / "npm", "10.9.0")
        self.assertEqual(node.on_system(self.shelf), ([str(npm)], found))

    def test_a_node_without_npm_is_not_taken(self):
        program(self.folder / "two" / "node", "v24.1.0")
        os.environ["PATH"] = f"{self.folder}/one:{self.folder}/two"
        self.assertIsNone(node.on_system(self.shelf))

    def test_packages_are_fetched_again_when_the_example_names_others(self):
        before = clients.wanted()
        self.assertEqual(before, clients.WANTED)
        kept = clients.REQUIREMENTS
        self.addCleanup(setattr, clients, "REQUIREMENTS", kept)
        clients.REQUIREMENTS = self.folder / "requirements.txt"
        clients.REQUIREMENTS.write_text(kept.read_text() + "# another\n")
        self.assertNotEqual(before, clients.wanted())

    def test_oauth_servers_are_had_again_when_their_files_are_others(self):
        before, kept = oauth.wanted(), oauth.ZITADEL
        self.assertEqual(before, oauth.WANTED)
        self.addCleanup(setattr, oauth, "ZITADEL", kept)
        self.addCleanup(setattr, oauth, "NODE_FILES", oauth.NODE_FILES)
        oauth.ZITADEL = kept[:-1]
        self.assertNotEqual(before, oauth.wanted())
        oauth.ZITADEL, oauth.NODE_FILES = kept, oauth.NODE_FILES[:-1]
        self.assertNotEqual(before, oauth.wanted())

    def test_packages_are_pinned_by_digest_and_no_host_is_named(self):
        for files in (clients.NODE_FILES, oauth.NODE_FILES):
            lock = files[1].read_text()
            self.assertNotIn('"resolved"', lock)
            self.assertEqual(lock.count('"version"') - lock.count('"integrity"'), 0)
        names = [line for line in clients.REQUIREMENTS.read_text().splitlines() if "==" in line and not line.startswith("#")]
        self.assertTrue(names)
        for line in names:
            self.assertRegex(line, r"^[\w-]+==[\w.]+ \\$")


class Jars(InFolder):
    def test_only_the_pinned_jars_are_taken(self):
        (self.folder / "a.jar").write_text("a")
        line = f"{hashlib.sha256(b'a').hexdigest()}  a.jar\n"
        spring.check(self.folder, line)
        for digests in (line.replace("ca97", "ca98"), line + line.replace("a.jar", "b.jar"), ""):
            with self.assertRaisesRegex(run.SetupError, "a.jar|b.jar"):
                spring.check(self.folder, digests)


class Toolchain(InFolder):
    def go(self, words):
        program(self.folder / "go", words)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{self.folder}:{before}"
        try:
            return toolchain.go(self.folder)
        finally:
            os.environ["PATH"] = before

    def test_go_must_be_new_enough(self):
        for words in ("go1.26", "go1.26.8", "go1.30.1", "go2.0", "go1.27rc1", "devel go1.28-abc"):
            self.assertIsNone(self.go(words), words)
        for words in ("go1.25.9", "go1.9", "", "gopher"):
            self.assertIn("install Go 1.26 or newer", self.go(words) or "", words)


if __name__ == "__main__":
    unittest.main()
