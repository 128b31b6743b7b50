"""Real OAuth servers that athd is tested with, which nobody here wrote:

    .tools/bin/oauth-node       a Node; beside what it links to are the node_modules of
                                test/harness/oauthservers/npm/package-lock.json
    .tools/bin/oauth-zitadel    Zitadel's example server, of test/harness/oauthservers/zitadel/go.mod

npm's packages come by the digests of the lock file, Go's modules by those of go.sum."""

import hashlib
import json
import pathlib
import sys

from parts import node
from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "oauth"
SERVERS = pathlib.Path(__file__).resolve().parents[2] / "test/harness/oauthservers"
NODE_FILES = [SERVERS / "npm" / name for name in ("package.json", "package-lock.json", ".npmrc")]
ZITADEL = [SERVERS / "zitadel" / name for name in ("go.mod", "go.sum", "main.go")]


def wanted():
    """Changes with everything that is installed or built."""
    digest = hashlib.sha256()
    for path in [*NODE_FILES, *ZITADEL]:
        digest.update(path.read_bytes() if path.exists() else b"")
    return f"recipe 1; {sys.platform}; {digest.hexdigest()}"


WANTED = wanted()


def chosen():
    return None


def on_system(shelf):
    return None  # packages of these very versions are on no system


def fetch(kit):
    built = kit.scratch / NAME
    built.mkdir()
    binary = node.provide(kit, built, "oauth-node", NODE_FILES, NAME)
    module = SERVERS / "zitadel"
    try:
        download(["go", "mod", "download"], 600, cwd=module)
    except SetupError as error:
        raise SetupError(f"the modules of Zitadel's example server cannot be fetched ({error}): see to the network or GOPROXY, "
                         f"or leave it out with ATHD_TEST_SKIP={NAME}", error.tail) from error
    run(["go", "build", "-trimpath", "-buildvcs=false", "-o", built / "oauth-zitadel", "."], 900, cwd=module,
        env={"CGO_ENABLED": "0", "GOFLAGS": ""})
    number = probe(built)
    place = kit.shelf.publish(built, f"oauth-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    return Found(version=number, programs={name: place / name for name in ("oauth-node", "oauth-zitadel")},
                 binary=binary or place / node.FETCHED)


def probe(built):
    """Says what is there, once the packages load."""
    run([built / "oauth-node", "-e", "import('oidc-provider').catch((error) => { console.error(error); process.exit(1); })"], 60, cwd=built)
    return json.loads((built / "node_modules/oidc-provider/package.json").read_text())["version"]
