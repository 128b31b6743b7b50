"""Ory Hydra, for make test-oauth: built from source with cgo, in the version that
test/harness/oauthservers/hydra/go.mod names.

    .tools/bin/oauth-hydra"""

import hashlib
import pathlib
import re
import shutil

from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "hydra"
MODULE = pathlib.Path(__file__).resolve().parents[2] / "test/harness/oauthservers/hydra"
PACKAGE = "github.com/ory/hydra/v2"
TAGS = "sqlite,sqlite_omit_load_extension"  # the database that the tests give it


def wanted():
    """Changes with everything that it is built of."""
    digest = hashlib.sha256(TAGS.encode())
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
    kit.say(f"{NAME}: building it, which takes two to four minutes")
    built = kit.scratch / NAME
    built.mkdir()
    download(["go", "mod", "download"], 600, cwd=MODULE)
    run(["go", "build", "-trimpath", "-buildvcs=false", "-tags", TAGS, "-o", built / "oauth-hydra", PACKAGE], 1800, cwd=MODULE,
        env={"CGO_ENABLED": "1", "GOFLAGS": ""})
    version = re.search(rf"^\s*{re.escape(PACKAGE)} v(\S+)", (MODULE / "go.mod").read_text(), re.M)[1]
    place = kit.shelf.publish(built, f"hydra-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    return Found(version=version, programs={"oauth-hydra": place / "oauth-hydra"}, binary=place / "oauth-hydra")
