"""Spring Authorization Server, for make test-oauth: jars of Maven's repository, by digest, and
test/harness/oauthservers/spring/Server.java, which starts them.

    .tools/bin/oauth-spring     beside what it links to are the folders jars and classes"""

import hashlib
import pathlib
import re
import shutil

from parts import keycloak
from parts.run import SetupError, download, run
from parts.shelf import Found

NAME = "spring"
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "test/harness/oauthservers/spring"
POM, DIGESTS, SOURCE = FOLDER / "pom.xml", FOLDER / "jars.sha256", FOLDER / "Server.java"
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
PROGRAM = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
java=${JAVA_HOME:+"$JAVA_HOME"/bin/}java
exec "$java" -Xmx256m -XX:TieredStopAtLevel=1 -cp "$here/classes:$here/jars/*" Server "$@"
"""


def wanted():
    """Changes with everything that it is built of."""
    digest = hashlib.sha256(PROGRAM.encode())
    for path in (POM, DIGESTS, SOURCE):
        digest.update(path.read_bytes() if path.exists() else b"")
    return f"recipe 1; {digest.hexdigest()}"


WANTED = wanted()


def chosen():
    return None


def on_system(shelf):
    return None


def fetch(kit):
    keycloak.java()
    for tool, package in (("mvn", "maven"), ("javac", f"a JDK of {keycloak.JAVA} or newer")):
        if not shutil.which(tool):
            raise SetupError(f"no {tool} found; install {package}")
    built = kit.scratch / NAME
    (built / "jars").mkdir(parents=True)
    download(["mvn", "-q", "-B", "-f", POM, GOAL, "-DincludeScope=runtime", f"-DoutputDirectory={built / 'jars'}"], 900, cwd=kit.scratch)
    check(built / "jars", DIGESTS.read_text())
    run(["javac", "-d", built / "classes", "-cp", f"{built}/jars/*", SOURCE], 300)
    program = built / "oauth-spring"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    place = kit.shelf.publish(built, f"spring-{hashlib.sha256(WANTED.encode()).hexdigest()[:12]}")
    version = re.search(r"<version>(.*)</version>", POM.read_text())[1]
    return Found(version=version, programs={"oauth-spring": place / "oauth-spring"}, binary=place / "oauth-spring")


def check(folder, digests):
    """Takes the jars that are pinned, no other and no fewer."""
    pinned = {name: digest for digest, name in (line.split() for line in digests.splitlines())}
    got = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    if wrong := sorted(name for name in pinned.keys() | got.keys() if pinned.get(name) != got.get(name)):
        raise SetupError(f"{wrong[0]} has SHA-256 {got.get(wrong[0])}, pinned is {pinned.get(wrong[0])}: "
                         "see where your Maven downloads from")
