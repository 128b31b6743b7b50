"""What must be on the machine already: named all at once when it is not."""

import os
import re
import shlex
import shutil
import sys
import tempfile

from parts.run import SetupError, run

GO = (1, 26)
PYTHON = (3, 9)


def missing(root, names):
    """One line for each of these tools that the checkout at root cannot be built or tested with."""
    checks = {"go": lambda: go(root), "git": git, "make": make, "cc": lambda: compiler(root), "python3": python}
    return [line for name in names for line in [checks[name]()] if line]


def go(root):
    if not shutil.which("go"):
        return f"no go found; install Go {GO[0]}.{GO[1]} or newer"
    try:
        # Asked inside the checkout: a Go that is older may fetch the one that go.mod names.
        said = run(["go", "env", "GOVERSION"], 300, cwd=root).strip()
    except SetupError as error:
        return f"go does not work ({error}); install Go {GO[0]}.{GO[1]} or newer"
    match = re.match(r"go(\d+)\.(\d+)|devel", said)
    if match and match[1] and (int(match[1]), int(match[2])) < GO:
        return f"go is {said}; install Go {GO[0]}.{GO[1]} or newer"
    return None if match else f"go says that it is {said!r}; install Go {GO[0]}.{GO[1]} or newer"


def git():
    return None if shutil.which("git") else "no git found; install git"


def make():
    return None if shutil.which("make") else "no make found; install make"


def compiler(root):
    """The compiler that cgo will use, tried out: without the C library's headers it is of no use."""
    command = os.environ.get("CC")
    if not command and shutil.which("go"):
        try:
            command = run(["go", "env", "CC"], 60, cwd=root).strip()
        except SetupError:
            pass  # said by the check of go
    command = shlex.split(command or "gcc")
    if not shutil.which(command[0]):
        hint = "install gcc" if command[0] == "gcc" else f"install {command[0]}, or gcc and unset CC"
        return f"no C compiler found; {hint} (the race detector needs it)"
    with tempfile.TemporaryDirectory(prefix="athd-cc-") as folder:
        source = os.path.join(folder, "try.c")
        with open(source, "w") as file:
            file.write("#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n")
        try:
            run([*command, "-o", os.path.join(folder, "try"), source], 60)
        except SetupError:
            return f"the C compiler {command[0]} cannot build a program; install gcc and libc6-dev (the race detector needs them)"
    return None


def python():
    if sys.version_info < PYTHON:
        return f"python3 is {sys.version.split()[0]}; install {PYTHON[0]}.{PYTHON[1]} or newer"
    return None
