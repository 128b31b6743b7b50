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
import pathlib
import shlex
import sys

from parts import node, wheel
from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "clients"
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
REQUIREMENTS = EXAMPLES / "python/requirements.txt"
SDK_REQUIREMENTS = ROOT / "test/e2e/examples/python-sdk/requirements.txt"
NODE_FILES = [EXAMPLES / "typescript" / name for name in ("package.json", "package-lock.json", ".npmrc")]

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
        node.wrapper(built / program, PYTHON.format(folder=folder, python=shlex.quote(python)))
    binary = node.provide(kit, built, "clients-node", NODE_FILES, NAME)
    number = probe(built)
    place = kit.shelf.publish(built, f"clients-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    programs = {name: place / name for name in ("clients-python", "clients-sdk", "clients-node")}
    # Of the system's Node the note is void when that is upgraded or gone.
    return Found(version=number, programs=programs, binary=binary or place / node.FETCHED)


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


def probe(built):
    """Says what is there, once both can sign."""
    python = run([built / "clients-python", "-c", "import jwt, sys; from cryptography.hazmat.primitives.asymmetric import ec; "
                  "jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), algorithm='ES256'); "
                  "print(sys.version.split()[0])"], 60).strip()
    run([built / "clients-sdk", "-c", "from ath import ATHGatewayClient, ATHNativeClient"], 60)
    run([built / "clients-node", "-e", "import('jose').then((jose) => jose.generateKeyPair('ES256'))"], 60, cwd=built)
    return f"{python}, {node.version(built / 'clients-node')}"
