"""What a part needs while it is being fetched."""

import functools
import os
import re
import shlex

from parts.debian import Apt

# Runs a program of unpacked packages in place. The paths are relative to the wrapper, so that
# the checkout can be moved; it becomes the program, so that signals reach that.
WRAPPER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
{exports}exec "$here"/{program} "$@"
"""


class Kit:
    def __init__(self, shelf, scratch, say):
        self.shelf, self.scratch, self.say = shelf, scratch, say

    @functools.cached_property
    def apt(self):
        """One apt for all parts of a run: its lists are fetched once."""
        self.say("fetching Debian's package lists")
        return Apt(self.scratch / "apt")

    def wrap(self, built, name, program, **files):
        """Writes built/name, which runs program with the libraries below built/root, and with
        an environment of files below built."""
        root = built / "root"
        folders = sorted({path.parent.relative_to(built) for path in root.rglob("lib*.so*")
                          if re.search(r"\.so(\.\d+)*$", path.name) and path.parent != program.parent})
        libraries = ":".join(f'"$here"/{shlex.quote(str(folder))}' for folder in folders)
        exports = f'export LD_LIBRARY_PATH={libraries}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n' if folders else ""
        exports += "".join(f'export {key}="$here"/{shlex.quote(file)}\n' for key, file in files.items())
        wrapper = built / name
        wrapper.write_text(WRAPPER.format(exports=exports, program=shlex.quote(str(program.relative_to(built)))))
        os.chmod(wrapper, 0o755)
        return wrapper
