"""Tells each step with its time, and what failed."""

import contextlib
import time


class Failed(Exception):
    """What was tried did not go as it must."""


@contextlib.contextmanager
def step(title):
    """Prints the step's lines below its title, and its time at the end."""
    print(f"== {title}", flush=True)
    started = time.monotonic()
    try:
        yield say
    except BaseException:
        say(f"FAILED after {time.monotonic() - started:.1f} s")
        raise
    say(f"done in {time.monotonic() - started:.1f} s")


def say(text):
    for line in str(text).strip("\n").splitlines():
        print(f"   {line}", flush=True)


def must(holds, what):
    if not holds:
        raise Failed(what)
    say(f"ok: {what}")
