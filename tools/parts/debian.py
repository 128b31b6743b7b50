"""Debian packages without installing them: apt-get downloads, dpkg-deb unpacks.

Works as root and as anybody: lists, caches and the list of installed packages are our own,
so that nothing on the system changes and any machine gets the same closure. Sources,
proxies and keys are those that the system's apt has.
"""

import os
import re
import shutil

from parts.run import SetupError, download, last_lines, run

# A program and its C library must be of one build: the system's own stays in use.
NEVER = {"libc6"}

QUIET_FIELDS = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]


class Apt:
    def __init__(self, folder):
        for tool in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
            if not shutil.which(tool):
                raise SetupError(f"{tool} not found")
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "debs", "none.d"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self.config = folder / "apt.conf"
        self.config.touch(mode=0o600)  # sources and proxies may carry passwords
        self.config.write_text(own_config(run(["apt-config", "dump"], 30), folder))
        self.trouble = ""
        self._update()

    def _env(self):
        return {"APT_CONFIG": str(self.config), "LC_ALL": "C"}

    def _update(self):
        """One source of several that is away may not matter: what is missing then shows later."""
        try:
            download(["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"], 180, env=self._env())
        except SetupError as error:
            self.trouble = last_lines(f"{error}\n{error.tail}")

    def closure(self, roots):
        """The roots and the libraries that they need, directly or not."""
        fields = [f"--no-{field}" for field in QUIET_FIELDS]
        try:
            text = run(["apt-cache", "depends", "--recurse", *fields, *roots], 60, env=self._env())
        except SetupError as error:
            raise SetupError(f"apt-get finds no {' or '.join(roots)}; see to the network or apt's sources",
                             f"{self.trouble}\n{error.tail}") from error
        return libraries(parse_depends(text), roots)

    def unpack(self, names, into):
        """Fetches the named packages, each checked by apt against the signed lists, and unpacks them."""
        debs = self.folder / "debs"
        try:
            download(["apt-get", "-q", "download", *names], 600, env=self._env(), cwd=debs)
        except SetupError as error:
            raise SetupError(f"apt-get download: {error}", f"{self.trouble}\n{error.tail}") from error
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "-x", deb, into], 120)
            deb.unlink()


def own_config(dump, folder):
    """The system's apt configuration with our own places. Its hooks are for its own state,
    and targets other than package lists (icons, descriptions) are not needed."""
    kept = [line for line in dump.splitlines()
            if not re.match(r"(APT::Update::(Pre|Post)-Invoke|DPkg::|Acquire::IndexTargets::)", line)]
    ours = {
        "Dir::Etc::Parts": folder / "none.d",  # they are in the dump already
        "Dir::Etc::Main": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
    }
    if os.geteuid() == 0:
        # apt's own user may not be able to enter the checkout.
        ours["APT::Sandbox::User"] = "root"
    return "\n".join(kept + [f'{key} "{value}";' for key, value in ours.items()]) + "\n"


def parse_depends(text):
    """The graph that `apt-cache depends --recurse` prints: package -> its dependencies, of
    alternatives the first. Virtual packages and other architectures stay out."""
    graph, package, taken = {}, None, True
    for line in text.splitlines():
        if not line.startswith(" "):
            package = line.strip()
            graph[package], taken = [], True
        elif match := re.fullmatch(r" ([ |])(?:Pre)?Depends: (\S+)", line):
            if taken:
                graph[package].append(match[2])
            taken = match[1] == " "  # a bar says that an alternative follows
    return {name: [need for need in needs if not re.search("[<:]", need)] for name, needs in graph.items()
            if not re.search("[<:]", name)}


def libraries(graph, roots):
    """Walks only along libraries: what else a package wants (users, init scripts, Perl) is
    for an installed one."""
    seen, todo = set(), list(roots)
    while todo:
        name = todo.pop()
        if name in seen or name in NEVER or name not in graph:
            continue
        seen.add(name)
        todo += [need for need in graph[name] if re.match(r"lib|zlib", need)]
    return sorted(seen)
