"""A container engine with compose: the machine's own, or one of our own from packages.

Our own is unpacked below .tools and runs in namespaces of its own (see tools/testcompose), so
that it changes no firewall rule and no interface of the machine, and nothing of it is left.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time

from parts.run import SetupError, download, end, run

COMPOSE = "2.40.3"
PACKAGES = ["docker.io", "containerd", "runc", "tini", "iptables"]
TABLES = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"]


class Engine:
    """How to call docker and compose."""

    def __init__(self, docker, compose, scratch, env=None):
        self.docker, self.compose, self.scratch, self.env = docker, compose, scratch, env or {}

    def run(self, *args, timeout=60):
        return run([*self.docker, *args], timeout, env=self.env)

    def environment(self):
        return {**os.environ, **self.env}


def of_machine(scratch):
    """The engine that runs here, if it has compose v2, and which it is; else None, and why."""
    if not shutil.which("docker"):
        return None, "no docker on PATH"
    try:
        version = run(["docker", "version", "--format", "{{.Server.Version}}"], 20).strip()
    except SetupError as error:
        return None, f"no engine answers ({error})"
    try:
        run(["docker", "compose", "version"], 20)
    except SetupError:
        return None, "docker has no compose v2"
    return Engine(["docker"], ["docker", "compose"], scratch), f"the machine's own, {version}"


def fetch_engine(kit):
    """Unpacks docker and what it needs; returns the folder."""
    for place in sorted(kit.shelf.root.glob("engine-*")):
        if (place / "bin/iptables").exists():
            return place
    built = kit.scratch / "engine"
    root = built / "root"
    root.mkdir(parents=True)
    kit.apt.unpack(kit.apt.closure(PACKAGES), root)
    tables = built / "bin"
    tables.mkdir()
    for name in TABLES:  # which one a program is depends on its name
        (tables / name).symlink_to("../root/usr/sbin/xtables-nft-multi")
    return kit.shelf.publish(built, "engine-1")


def fetch_compose(kit):
    """Builds compose in a module of its own; returns the program."""
    program = kit.shelf.root / f"compose-{COMPOSE}" / "docker-compose"
    if os.access(program, os.X_OK):
        return program
    kit.say("building docker compose from source, some minutes")
    built, module = kit.scratch / "compose", kit.scratch / "module"
    built.mkdir()
    module.mkdir()
    env = {"GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    run(["go", "mod", "init", "compose"], 30, env=env, cwd=module)
    package = "github.com/docker/compose/v2/cmd"
    download(["go", "get", f"{package}@v{COMPOSE}"], 600, env=env, cwd=module)
    run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", built / "docker-compose", package], 1800,
        env=env, cwd=module)
    return kit.shelf.publish(built, program.parent.name) / program.name


@contextlib.contextmanager
def own(place, compose, folder):
    """Starts an engine from packages, in the namespaces that we are in, and ends it. What it
    leaves in the folder is for who made the namespaces: its mounts end with them."""
    env = environment(place, folder)
    loopback_up()
    log = open(folder / "log", "w")
    daemon = subprocess.Popen(
        ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid",
         "-H", env["DOCKER_HOST"]],
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        engine = Engine(["docker"], [str(compose)], folder, env)
        await_engine(engine, daemon, folder / "log")
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            end(daemon)
        log.close()


def environment(place, folder):
    root = place / "root"
    libraries = sorted({str(path.parent) for path in root.rglob("lib*.so.*")})
    programs = [place / "bin", root / "usr/sbin", root / "usr/bin", root / "sbin", root / "bin"]
    return {
        "PATH": ":".join(map(str, programs)) + ":" + os.environ["PATH"],
        "LD_LIBRARY_PATH": ":".join(libraries),
        "XTABLES_LIBDIR": ":".join(sorted({str(path.parent) for path in root.rglob("libxt_*.so")})),
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_BUILDKIT": "0",  # there is no buildx
        "COMPOSE_BAKE": "false",
        "DOCKER_CONFIG": str(folder),
    }


def await_engine(engine, daemon, log, patience=60):
    deadline = time.monotonic() + patience
    while True:
        try:
            return engine.run("version", timeout=10)
        except SetupError as error:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SetupError("dockerd does not start", log.read_text()[-2000:]) from error
            time.sleep(0.2)


def loopback_up():
    """A network namespace begins with its loopback interface down."""
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
