"""Runs other programs: with a deadline, without a terminal, and never left behind."""

import os
import signal
import subprocess
import time


class SetupError(Exception):
    """Says in one line what is wrong and what to do; tail holds a command's last lines."""

    def __init__(self, message, tail=""):
        super().__init__(message)
        self.tail = tail


def last_lines(text, count=15):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def run(args, timeout, env=None, cwd=None):
    """Returns the standard output of args; raises SetupError after timeout seconds, or
    when the command is missing or fails. env is added to the environment."""
    args = [os.fspath(arg) for arg in args]
    name = os.path.basename(args[0])
    try:
        process = subprocess.Popen(
            args, env={**os.environ, **(env or {})}, cwd=cwd, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)  # so that its children can be ended with it
    except OSError as error:
        raise SetupError(f"{args[0]} does not start: {error.strerror}") from error
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise SetupError(f"{name} did not finish within {timeout} s") from error
        raise
    if process.returncode != 0:
        raise SetupError(f"{name} failed with status {process.returncode}", last_lines(out + "\n" + err))
    return out


def end(process):
    """Kills a process that run started, and everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def download(args, timeout, tries=3, pause=2.0, **more):
    """Like run, for commands that may fail because a network does."""
    for attempt in range(1, tries + 1):
        try:
            return run(args, timeout, **more)
        except SetupError as error:
            if attempt == tries:
                raise SetupError(f"{error} ({tries} tries)", error.tail) from error
            time.sleep(pause * attempt)
