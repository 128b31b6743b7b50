"""composetest, without an engine: python3 -m unittest discover -s tools -p '*_test.py'."""

import contextlib
import io
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import types
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))

from composetest import browser, engine, standins, steps, told  # noqa: E402

FORM = """<meta http-equiv="refresh" content="0;url=/next"><form action="/go" method="post">
<input type="hidden" name="state" value="a&amp;b"><input name="username"><input type="checkbox" name="scope" value="x" checked>
<input type="checkbox" name="scope" value="y"><button name="decision" value="deny">No</button>
<button name="decision" value="allow">Yes</button></form>"""


class Browser(unittest.TestCase):
    def test_a_page_has_what_a_person_would_send(self):
        page = browser.Page("http://login.localhost:8080/a/b", 200, FORM)
        self.assertEqual(page.action, "http://login.localhost:8080/go")
        self.assertEqual(page.fields, [("state", "a&b"), ("username", ""), ("scope", "x")])
        self.assertEqual(page.buttons, [("decision", "deny"), ("decision", "allow")])
        self.assertEqual(page.refresh, "http://login.localhost:8080/next")


class StandIns(unittest.TestCase):
    def test_the_files_name_one_image_of_each_kind(self):
        self.assertEqual(set(standins.wanted(TOOLS.parent)), {"golang", "redis", "envoy"})

    def test_modules_are_spelled_as_a_proxy_does(self):
        self.assertEqual(standins.escaped("github.com/BurntSushi/toml"), "github.com/!burnt!sushi/toml")

    def test_an_image_holds_each_path_once_and_is_roots(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name in ("one/usr/bin/a", "one/left/b", "two/usr/bin/c", "two/usr/bin/a"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(name)
            image = standins.Image(types.SimpleNamespace(scratch=folder), "redis:7")
            image.tree(folder / "one", ".", leave={"left"})
            image.tree(folder / "two", ".")
            image.folder("data", 0o755, uid=999, gid=999)
            image.tar.close()
            with tarfile.open(image.buffer) as tar:
                entries = {entry.name: entry for entry in tar.getmembers()}
                self.assertEqual(sorted(tar.getnames()), ["data", "usr", "usr/bin", "usr/bin/a", "usr/bin/c"])
                self.assertEqual(tar.extractfile("usr/bin/a").read(), b"one/usr/bin/a")
            self.assertEqual({entries["usr/bin/a"].uid, entries["usr/bin/a"].gid, entries["data"].uid}, {0, 999})


class Images(unittest.TestCase):
    def test_an_image_has_labels_a_user_and_athd_a_health_check(self):
        labels = {f"org.opencontainers.image.{key}": value for key, value in
                  {**steps.LABELS, "title": "athd", "description": "what it is"}.items()}
        config = {"Labels": labels, "User": "65532:65532", "Healthcheck": {"Test": ["CMD", "/athd", "health"]}}
        wrong = [{"Labels": None}, {"User": ""}, {"Healthcheck": None}]
        wrong += [{"Labels": {k: v for k, v in labels.items() if k != gone}} for gone in labels]
        with contextlib.redirect_stdout(io.StringIO()):
            steps.check_config("athd", config)
            for change in wrong:
                with self.subTest(change=change), self.assertRaises(told.Failed):
                    steps.check_config("athd", {**config, **change})


class Engine(unittest.TestCase):
    def test_an_engine_of_our_own_is_found_below_its_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            (place / "root/usr/lib/x").mkdir(parents=True)
            (place / "root/usr/lib/x/libz.so.1").touch()
            env = engine.environment(place, pathlib.Path("/tmp/e"))
        self.assertEqual(env["LD_LIBRARY_PATH"], f"{folder}/root/usr/lib/x")
        self.assertEqual(env["DOCKER_HOST"], "unix:///tmp/e/docker.sock")
        self.assertTrue(env["PATH"].startswith(f"{folder}/bin:{folder}/root/usr/sbin:"))


class Steps(unittest.TestCase):
    def test_what_does_not_hold_fails_and_says_what(self):
        out = io.StringIO()
        with self.assertRaisesRegex(told.Failed, "the sky is green"), contextlib.redirect_stdout(out), told.step("look up"):
            told.must(True, "there is a sky")
            told.must(False, "the sky is green")
        self.assertRegex(out.getvalue(), r"== look up\n   ok: there is a sky\n   FAILED after [\d.]+ s\n")

    def test_each_service_that_holds_something_is_restarted(self):
        text = (TOOLS.parent / "docker-compose.yaml").read_text()
        stays = re.findall(r"\n  (\w+):\n    <<: (?:\*service|\[\*service)", text)
        self.assertEqual(sorted(stays), sorted([*steps.RESTARTED, "ready"]))


class Command(unittest.TestCase):
    def test_wrong_usage_is_told(self):
        process = subprocess.run([sys.executable, TOOLS / "testcompose", "-x"], capture_output=True, text=True, timeout=60)
        self.assertEqual(process.returncode, 2)
        self.assertIn("tools/testcompose", process.stderr)


if __name__ == "__main__":
    unittest.main()
