"""The .tools folder: programs under bin, what they link to, and notes of what was found.

    .tools/bin/envoy        what demo and tests start: a link to a fetched or a system program
    .tools/envoy-1.40.0/    a fetched part; appears by one rename, so that it is whole or not there
    .tools/envoy.json       the note: what was asked for and what was found
    .tools/lock             held by the one set-up that changes anything

Reading needs no lock and no write access, so that a tree which root set up serves everybody.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
import time

from parts.run import SetupError


@dataclasses.dataclass(frozen=True)
class Found:
    """A part that was seen working."""

    version: str
    programs: dict  # name below bin -> absolute path
    binary: pathlib.Path  # the file behind the programs; a note is void when it changes


class Shelf:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.bin = self.root / "bin"

    def noted(self, part, wanted):
        """What was found before for the same wish, if it is still there and unchanged."""
        try:
            note = json.loads((self.root / f"{part}.json").read_text())
            found = Found(
                version=note["version"],
                programs={name: self.root / path for name, path in note["programs"].items()},
                binary=self.root / note["binary"])
            same = note["wanted"] == wanted and note["stamp"] == self._stamp(found.binary)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None
        if not same or not all(os.access(path, os.X_OK) for path in found.programs.values()):
            return None
        return found

    def note(self, part, wanted, found):
        note = {
            "wanted": wanted,
            "version": found.version,
            "programs": {name: self._inside(path) for name, path in found.programs.items()},
            "binary": self._inside(found.binary),
            "stamp": self._stamp(found.binary),
        }
        fresh = self.root / f"{part}.json.new"
        fresh.write_text(json.dumps(note, indent=2) + "\n")
        fresh.replace(self.root / f"{part}.json")

    def linked(self, found):
        """Whether bin leads to exactly these programs."""
        try:
            return all(os.readlink(self.bin / name) == self._link(path) for name, path in found.programs.items())
        except OSError:
            return False

    def link(self, found):
        self.bin.mkdir(exist_ok=True)
        for name, path in found.programs.items():
            fresh = self.bin / f".{name}.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._link(path))
            fresh.replace(self.bin / name)

    def publish(self, built, name):
        """Moves a finished folder to its place; a broken one that stands there goes."""
        place = self.root / name
        if place.exists():
            place.rename(built.parent / f"{name}.old")
        built.chmod(0o755)
        built.rename(place)
        return place

    @contextlib.contextmanager
    def locked(self, say, patience=1200):
        """Waits up to patience seconds for other set-ups, then lets nobody else in."""
        try:
            self.root.mkdir(exist_ok=True)
            handle = open(self.root / "lock", "w")
        except OSError as error:
            raise SetupError(f"cannot write below {self.root}: {error.strerror}; run as its owner, or remove it") from error
        with handle:
            deadline, told = time.monotonic() + patience, False
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise SetupError(f"another set-up has held {self.root / 'lock'} for {patience} s; end it") from None
                    if not told:
                        say("another set-up is at work; waiting for it")
                    told = True
                    time.sleep(0.1)
            for left in self.root.glob("tmp-*"):  # of a set-up that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextlib.contextmanager
    def scratch(self):
        """A folder on the same disk, gone afterwards."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tmp-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _inside(self, path):
        """A path below .tools as a relative one, so that the checkout can be moved."""
        path = pathlib.Path(path)
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _link(self, path):
        inside = self._inside(path)
        return inside if os.path.isabs(inside) else os.path.join("..", inside)

    def _stamp(self, path):
        """Changes when the file does. Our own files are only truncated or gone, and a copy
        of the checkout changes their times; the system's are upgraded in place."""
        info = os.stat(path)
        return [info.st_size] if path.is_relative_to(self.root) else [info.st_size, info.st_mtime_ns]


def on_path(names, shelf):
    """The programs of these names on PATH, in the order of names, but for those of bin."""
    own = os.path.realpath(shelf.bin)
    for name in names:
        for folder in os.get_exec_path():
            path = os.path.join(folder or ".", name)
            if os.path.isfile(path) and os.access(path, os.X_OK) and os.path.realpath(folder or ".") != own:
                yield pathlib.Path(os.path.abspath(path))
