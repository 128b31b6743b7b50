"""Dex, for make test-oauth: built from source with cgo, in the version that
test/harness/oauthservers/dex/go.mod names.

    .tools/bin/oauth-dex        beside what it links to is the folder web, of its pages"""

import hashlib
import pathlib
import re
import shutil

from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "dex"
MODULE = pathlib.Path(__file__).resolve().parents[2] / "test/harness/oauthservers/dex"
PACKAGE = "github.com/dexidp/dex"


def wanted():
    """Changes with everything that it is built of."""
    digest = hashlib.sha256()
    for path in (MODULE / "go.mod", MODULE / "go.sum"):
        digest.update(path.read_bytes() if path.exists() else b"")
    return f"recipe 1; {digest.hexdigest()}"


WANTED = wanted()


def chosen():
    return None


def on_system(shelf):
    return None


def fetch(kit):
    if not shutil.which("gcc"):
        raise SetupError("no gcc found; install gcc and libc6-dev, which its store of SQLite is built with")
    kit.say(f"{NAME}: building it, which takes a minute or two")
    built = kit.scratch / NAME
    built.mkdir()
    download(["go", "mod", "download", PACKAGE], 600, cwd=MODULE)
    run(["go", "build", "-trimpath", "-buildvcs=false", "-o", built / "oauth-dex", f"{PACKAGE}/cmd/dex"], 1800, cwd=MODULE,
        env={"CGO_ENABLED": "1", "GOFLAGS": ""})
    source = run(["go", "list", "-m", "-f", "{{.Dir}}", PACKAGE], 60, cwd=MODULE).strip()
    shutil.copytree(pathlib.Path(source) / "web", built / "web", copy_function=shutil.copyfile)
    for path in (built / "web").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    version = re.search(rf"^\s*{re.escape(PACKAGE)} v(\S+)", (MODULE / "go.mod").read_text(), re.M)[1]
    place = kit.shelf.publish(built, f"dex-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    return Found(version=version[-12:], programs={"oauth-dex": place / "oauth-dex"}, binary=place / "oauth-dex")
