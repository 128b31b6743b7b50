"""Base images under their official names, made from packages, where no image registry can be
reached. They hold the same programs at the same places, as far as our files rely on them."""

import json
import os
import pathlib
import re
import subprocess
import tarfile

from parts.run import SetupError, run

PATH = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a shell and its few commands need. libc6 is named: closures leave it to the system.
SYSTEM = ["libc6", "dash", "bash", "coreutils", "grep"]
REDIS = ["redis-server", "redis-tools"]


def wanted(root):
    """The images that our files name: golang, redis, envoy -> name with tag."""
    text = (root / "Dockerfile").read_text() + (root / "docker-compose.yaml").read_text()
    found = {}
    for kind, pattern in {"golang": r"FROM (?:--platform=\S+ )?(golang:\S+)", "redis": r"image: (redis:\S+)", "envoy": r"image: (envoyproxy/\S+)"}.items():
        match = re.search(pattern, text)
        if not match:
            raise SetupError(f"neither Dockerfile nor docker-compose.yaml names an image of {kind}")
        found[kind] = match[1]
    return found


def missing(engine, names):
    """The images that are not here and cannot be pulled."""
    out = {}
    for kind, name in names.items():
        try:
            engine.run("image", "inspect", name)
        except SetupError:
            try:
                engine.run("pull", "-q", name, timeout=300)
            except SetupError:
                out[kind] = name
    return out


def fetch(kit):
    """Unpacks what the stand-ins are made of; returns the folder."""
    place = kit.shelf.root / "standins-1"
    if (place / "redis").is_dir():
        return place
    built = kit.scratch / "standins"
    for name, packages in {"system": SYSTEM, "redis": REDIS}.items():
        (built / name).mkdir(parents=True)
        names = kit.apt.closure(packages) + (["libc6"] if name == "system" else [])
        kit.apt.unpack(sorted(set(names)), built / name)
    shell = built / "system/bin/sh"
    if not shell.is_symlink():
        shell.symlink_to("dash")
    server = built / "redis/usr/bin/redis-server"
    if not server.exists():
        server.symlink_to("redis-check-rdb")
    return kit.shelf.publish(built, place.name)


def make(engine, kind, name, place, envoy, modules):
    """Imports one stand-in. modules is a folder of Go modules, as a proxy serves them."""
    image = Image(engine, name)
    image.tree(place / "system", ".")
    image.folder("tmp", 0o1777)
    match kind:
        case "redis":
            image.tree(place / "redis", ".")
            image.folder("data", 0o755, uid=999, gid=999)
        case "envoy":
            image.file(envoy, "usr/local/bin/envoy")
        case "golang":
            image.tree(pathlib.Path(run(["go", "env", "GOROOT"], 30).strip()), "usr/local/go", leave={"test", "api", "doc"})
            image.tree(modules, "modules")
            image.file(certificates(), "etc/ssl/certs/ca-certificates.crt")
            image.env(GOPROXY="file:///modules", GOTOOLCHAIN="local", GONOSUMDB="*")
    image.close()


def certificates():
    for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"):
        if os.path.exists(path):
            return pathlib.Path(path)
    raise SetupError("this machine has no file with CA certificates")


def modules_for(root, into):
    """Copies what go build ./cmd/... needs from the module cache, as a proxy serves it."""
    cache = pathlib.Path(run(["go", "env", "GOMODCACHE"], 30).strip()) / "cache/download"
    run(["go", "build", "-o", os.devnull, "./cmd/..."], 1200, cwd=root)  # so that they are there
    linked = run(["go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "./cmd/..."], 120, cwd=root)
    for mod in cache.rglob("@v/*.mod"):
        copy(mod, cache, into)
        if (info := mod.with_suffix(".info")).exists():
            copy(info, cache, into)
    for line in sorted(set(linked.splitlines())):
        path, _, version = line.partition(" ")
        if version:  # ours has none
            copy(cache / escaped(path) / "@v" / f"{escaped(version)}.zip", cache, into)


def escaped(text):
    """Go writes capitals as ! and the small letter."""
    return re.sub("[A-Z]", lambda match: "!" + match[0].lower(), text)


def copy(path, base, into):
    target = into / path.relative_to(base)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())


class Image:
    """One `docker import` that is being fed."""

    def __init__(self, engine, name):
        self.name, self.engine, self.changes = name, engine, {"PATH": PATH}
        self.buffer = engine.scratch / (re.sub(r"\W", "-", name) + ".tar")
        self.tar, self.seen = tarfile.open(self.buffer, "w"), set()

    def tree(self, source, target, leave=()):
        """Adds all that is below source, but what is there already, as root's."""
        for folder, inside, files in os.walk(source):
            here = pathlib.PurePath(folder).relative_to(source)
            inside[:] = sorted(name for name in inside if here.parts or name not in leave)
            for name in [*inside, *sorted(files)]:
                path = str(pathlib.PurePath(target) / here / name)
                if path in self.seen:
                    continue
                self.seen.add(path)
                entry = self.tar.gettarinfo(os.path.join(folder, name), path)
                self._add(entry, os.path.join(folder, name))

    def file(self, source, target):
        self.seen.add(target)
        self._add(self.tar.gettarinfo(os.path.realpath(source), target), source)

    def _add(self, entry, source):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode |= 0o444
        if not entry.isfile():
            return self.tar.addfile(entry)
        with open(source, "rb") as content:
            self.tar.addfile(entry, content)

    def folder(self, target, mode, uid=0, gid=0):
        entry = tarfile.TarInfo(target)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, uid, gid
        self.seen.add(target)
        self.tar.addfile(entry)

    def env(self, **names):
        self.changes.update(names)

    def close(self):
        self.tar.close()
        changes = [word for key, value in self.changes.items() for word in ("--change", f"ENV {key}={json.dumps(value)}")]
        with open(self.buffer, "rb") as content:
            subprocess.run([*self.engine.docker, "import", *changes, "-", self.name], check=True, stdin=content,
                           stdout=subprocess.DEVNULL, timeout=300, env=self.engine.environment())
        self.buffer.unlink()
