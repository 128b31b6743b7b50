"""golangci-lint, built from source in the version that tools/lint/go.mod names.

From source, since it must be built by a Go that is no older than what the code is written in;
the module proxy and go.sum answer for what is built."""

import hashlib
import os
import pathlib
import re
import shutil

from parts.run import SetupError, download, run
from parts.shelf import Found, on_path

NAME = "lint"
MODULE = pathlib.Path(__file__).resolve().parents[1] / "lint"
PACKAGE = "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"
PROGRAM = "golangci-lint"


def pinned():
    """The version that go.mod names."""
    match = re.search(r"^\s*github\.com/golangci/golangci-lint/v2 v(\S+)", (MODULE / "go.mod").read_text(), re.M)
    return match[1] if match else "?"


def go_version():
    """Which Go builds it; "" where there is none, which is said elsewhere."""
    try:
        return run(["go", "env", "GOVERSION"], 60, cwd=MODULE).strip() if shutil.which("go") else ""
    except SetupError:
        return ""


def wanted():
    """Changes with the version and with everything that it is built of."""
    return f"{pinned()}; {hashlib.sha256((MODULE / 'go.sum').read_bytes()).hexdigest()}"


WANTED = wanted()


def chosen():
    return None


def on_system(shelf):
    for path in on_path([PROGRAM], shelf):
        try:
            return probe(path)
        except SetupError:
            continue
    return None


def fetch(kit):
    kit.say(f"{NAME}: building golangci-lint {pinned()}, which takes a minute or two")
    built = kit.scratch / NAME
    built.mkdir()
    try:
        download(["go", "mod", "download"], 600, cwd=MODULE)
    except SetupError as error:
        raise SetupError(f"the modules of tools/lint cannot be fetched ({error}): see to the network or GOPROXY", error.tail) from error
    run(["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built / PROGRAM, PACKAGE], 1800, cwd=MODULE,
        env={"CGO_ENABLED": "0", "GOFLAGS": ""})
    probe(built / PROGRAM)
    return probe(kit.shelf.publish(built, f"{PROGRAM}-{pinned()}") / PROGRAM)


def probe(path):
    """One that fits is of this version, and built by no older Go than that which loads the code."""
    out = run([path, "version"], 60)
    match = re.search(r"has version v?(\S+) built with go(\d+)\.(\d+)", out)
    if not match or match[1] != pinned():
        says = match[1] if match else "something else"
        raise SetupError(f"{path} says that it is {says}, not golangci-lint {pinned()}")
    own = re.match(r"go(\d+)\.(\d+)", go_version())
    if own and (int(match[2]), int(match[3])) < (int(own[1]), int(own[2])):
        raise SetupError(f"{path} was built with Go {match[2]}.{match[3]}, which is older than {os.path.basename(own[0])}")
    return Found(version=pinned(), programs={PROGRAM: path}, binary=path)
