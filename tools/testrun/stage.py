"""One go test command: started, read line by line, and ended with everything it started."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

SILENCE = 30  # seconds without news after which the running tests are named


def split_stages(args):
    """[(title, arguments)]: what stands before the first --stage goes to each."""
    first = args.index("--stage") if "--stage" in args else len(args)
    common, rest, stages = args[:first], args[first:], []
    if not rest:
        return [("", common)]
    while rest:
        if len(rest) < 2:
            sys.exit("gotest: --stage wants a title")
        title, rest = rest[1], rest[2:]
        end = rest.index("--stage") if "--stage" in rest else len(rest)
        stages.append((title, common + rest[:end]))
        rest = rest[end:]
    return stages


def run_stage(args, report):
    """Runs go test -json args into the report; returns the exit status."""
    process = subprocess.Popen(
        ["go", "test", "-json", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True)
    lines = queue.SimpleQueue()
    threading.Thread(target=read, args=(process.stdout, lines), daemon=True).start()
    report.begin()
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        shown = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                line = ""
            if line is None:
                break
            if line and report.take(line):
                shown = time.monotonic()
            elif time.monotonic() - shown > SILENCE:
                report.still_running()
                shown = time.monotonic()
        status = process.wait(60)
    except BaseException:
        end(process)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    return report.end(status)


def read(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put(None)


def end(process):
    """Interrupts go test as Ctrl-C does, so that tests can end what they started; then kills."""
    for sign, patience in ((signal.SIGINT, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sign)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
