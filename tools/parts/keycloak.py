"""Keycloak, for make test-oauth: its distribution from Maven's repository, by digest.

    .tools/bin/oauth-keycloak   beside what it links to is the folder keycloak, of which each
                                test has a copy of its own"""

import hashlib
import os
import pathlib
import re
import shutil
import zipfile

from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "keycloak"
VERSION = "26.7.3"
DIGEST = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
WANTED = f"recipe 1; {VERSION}"
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
JAVA = 17


def chosen():
    return None


def on_system(shelf):
    return None


def fetch(kit):
    java()
    if not shutil.which("mvn"):
        raise SetupError("no mvn found; install maven")
    folder, built = kit.scratch / "keycloak-zip", kit.scratch / NAME
    download(["mvn", "-q", "-B", GOAL, f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip",
              f"-DoutputDirectory={folder}"], 900, cwd=kit.scratch)
    archive = folder / f"keycloak-quarkus-dist-{VERSION}.zip"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != DIGEST:
        raise SetupError(f"{archive.name} has SHA-256 {digest}, pinned is {DIGEST}: see where your Maven downloads from")
    built.mkdir()
    with zipfile.ZipFile(archive) as source:
        source.extractall(built)
    (built / f"keycloak-{VERSION}").rename(built / "keycloak")
    program = built / "oauth-keycloak"
    program.write_text('#!/bin/sh\nexec sh "$(dirname "$(readlink -f "$0")")"/keycloak/bin/kc.sh "$@"\n')
    program.chmod(0o755)
    place = kit.shelf.publish(built, f"keycloak-{VERSION}")
    return Found(version=VERSION, programs={"oauth-keycloak": place / "oauth-keycloak"}, binary=place / "oauth-keycloak")


def java():
    """Says what is missing before anything is fetched."""
    path = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else shutil.which("java")
    said = run([path, "--version"], 60) if path and pathlib.Path(path).exists() else ""
    match = re.match(r"\S+ (\d+)", said)
    if not match or int(match[1]) < JAVA:
        raise SetupError(f"no Java {JAVA} or newer found; install a JRE of {JAVA} or newer")
