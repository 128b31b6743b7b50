"""A Chromium that was seen to render a page without a screen."""

import os
import re
import tempfile

from parts.run import SetupError, run
from parts.shelf import Found, on_path

NAME = "chromium"
WANTED = "chromium; recipe 1"

NAMES = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"]
PACKAGES = ["chromium-headless-shell", "chromium-common", "fonts-dejavu-core"]
BINARY = "usr/lib/chromium/chromium-headless-shell"

# No sandbox: it needs root's help that a build machine does not give. Only pages of our own
# are ever opened.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-sync", "--disable-component-update",
         "--disable-crash-reporter", "--dump-dom"]
PAGE = "data:text/html,<p id=x>unset</p><script>document.getElementById('x').textContent=6*7</script>"

# Fonts of our own, so that text has the same size on every machine. Paths are relative to the file.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">root/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def chosen():
    return None


def on_system(shelf):
    for path in on_path(NAMES, shelf):
        try:
            return Found(version=probe(path), programs={"chromium": path}, binary=path.resolve())
        except SetupError:
            continue  # such as a stub that wants a snap installed
    return None


def fetch(kit):
    built = kit.scratch / NAME
    root = built / "root"
    root.mkdir(parents=True)
    try:
        kit.apt.unpack(kit.apt.closure(PACKAGES), root)
    except SetupError as error:
        raise SetupError(f"no Chromium by apt-get ({error}): install chromium, or leave it out "
                         "with ATHD_TEST_SKIP=chromium", error.tail) from error
    (built / "fonts.conf").write_text(FONTS)
    wrapper = kit.wrap(built, "chromium", root / BINARY, FONTCONFIG_FILE="fonts.conf")
    number = probe(wrapper)
    place = kit.shelf.publish(built, f"chromium-{number}")
    return Found(version=number, programs={"chromium": place / "chromium"}, binary=place / "root" / BINARY)


def probe(path):
    """The version of a Chromium that runs a script and shows what it wrote."""
    with tempfile.TemporaryDirectory(prefix="athd-chromium-") as home:
        env = {"HOME": home, "XDG_CACHE_HOME": os.path.join(home, "cache"), "XDG_CONFIG_HOME": os.path.join(home, "config")}
        said = run([path, "--version"], 30, env=env)
        dom = run([path, *FLAGS, f"--user-data-dir={home}/profile", PAGE], 60, env=env)
    match = re.search(r"\d+(\.\d+)+", said)
    if not match or ">42</p>" not in dom:
        raise SetupError(f"{path} starts but does not render a page", dom)
    return match[0]
