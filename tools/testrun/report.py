"""Turns go test's JSON events (go doc test2json) into lines for people, and counts."""

import collections
import json
import re
import time

# What go test says about how tests went: our own lines say that.
NOISE = re.compile(r"\s*(=== (RUN|PAUSE|CONT|NAME)\s|--- (PASS|FAIL|SKIP): |PASS$|FAIL\s*$|"
                   r"(ok|FAIL)\s+\S+\s+([\d.]+s|\(cached\)|\[))")
KEEP = 4000  # lines of one test's output; the rest is of no help to anybody


class Test:
    def __init__(self):
        self.result, self.seconds, self.parent = None, 0.0, False
        self.output = collections.deque(maxlen=KEEP)


class Report:
    def __init__(self, skip=""):
        self.asked = [name for name in skip.lower().replace(",", " ").split()]
        self.passed = self.failed = self.skipped = self.unasked = 0
        self.tests = {}  # package -> name -> Test, while the package runs
        self.output = collections.defaultdict(lambda: collections.deque(maxlen=KEEP))  # package -> lines
        self.builds = collections.defaultdict(list)  # import path -> the compiler's words
        self.fuzz, self.slow, self.empty = {}, [], 0
        self.stage_tests, self.stage_packages, self.started = 0, 0, 0.0

    def begin(self):
        self.stage_tests = self.stage_packages = 0
        self.stage_failed, self.started = self.failed, time.monotonic()

    def take(self, line):
        """Reads one line of go test -json; says whether it led to something shown."""
        try:
            event = json.loads(line)
            action = event["Action"]
        except (ValueError, TypeError, KeyError):
            say(line.rstrip("\n"))  # go itself speaks, such as while it downloads
            return True
        package, name = event.get("Package", ""), event.get("Test")
        if action == "build-output":
            self.builds[event.get("ImportPath", "")].append(event.get("Output", ""))
        elif action == "output":
            test = self._test(package, name) if name else None
            (test.output if test else self.output[package]).append(event.get("Output", ""))
        elif name and action == "run":
            self._test(package, name)
        elif name and action in ("pass", "fail", "skip"):
            return self._test_ends(package, name, action, event.get("Elapsed", 0.0))
        elif package and action in ("pass", "fail", "skip"):
            return self._package_ends(package, action, event)
        return False

    def still_running(self):
        for package, tests in self.tests.items():
            names = [name for name, test in tests.items() if not test.result and not test.parent]
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                say(f"...  {package}: still in {', '.join(names[:3])}{more}")

    def end(self, status):
        """Closes a stage; returns its exit status."""
        for package in list(self.tests):  # go test died before it could say how they ended
            self._package_ends(package, "fail", {})
        if not self.stage_tests and self.failed == self.stage_failed:
            say("FAIL no test ran")
            self.empty += 1
        if status and self.failed == self.stage_failed:
            say(f"FAIL go test ended with status {status}")
            self.failed += 1
        seconds = time.monotonic() - self.started
        say(f"     {self.stage_tests} tests in {self.stage_packages} packages, {seconds:.0f} s")
        return status

    def clean(self):
        return not (self.failed or self.unasked or self.empty) and self.passed > 0

    def summary(self):
        if self.fuzz:
            seeds = ", ".join(f"{name} ({count})" for name, count in sorted(self.fuzz.items()))
            say(f"fuzz targets whose seeds ran: {seeds}")
        if self.slow:
            slow = ", ".join(f"{name} {seconds:.1f} s" for seconds, name in sorted(self.slow, reverse=True)[:5])
            say(f"slowest: {slow}")
        if self.unasked:
            say(f"FAIL {self.unasked} skipped without ATHD_TEST_SKIP naming the part")
        say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")

    def _test(self, package, name):
        tests = self.tests.setdefault(package, {})
        if name not in tests:
            tests[name] = Test()
            for cut in (at for at, letter in enumerate(name) if letter == "/"):
                if name[:cut] in tests:
                    tests[name[:cut]].parent = True
        return tests[name]

    def _test_ends(self, package, name, action, seconds):
        test = self._test(package, name)
        test.result, test.seconds = action, seconds
        if action == "fail":
            tests = self.tests[package]
            if not fails_below(tests, name) or any(not NOISE.match(line) for line in test.output):
                show(f"FAIL {package} {name} ({seconds:.2f} s)", test.output)
            return True
        if action == "skip":
            text = "".join(test.output).lower()
            if not any(re.search(rf"\b{re.escape(part)}\b", text) for part in self.asked):
                self.unasked += 1
                show(f"FAIL {package} {name} was skipped, and nobody asked for that", test.output)
                return True
        return False

    def _package_ends(self, package, action, event):
        tests, output = self.tests.pop(package, {}), self.output.pop(package, [])
        counts = collections.Counter()
        for name, test in tests.items():
            if test.result is None:  # the process died in it
                test.result = "fail"
                show(f"FAIL {package} {name} did not finish", test.output)
            if test.parent and (test.result != "fail" or fails_below(tests, name)):
                continue
            counts[test.result] += 1
            if test.result == "pass":
                self.slow = sorted([*self.slow, (test.seconds, f"{short(package)}.{name}")], reverse=True)[:5]
                if name.startswith("Fuzz"):
                    target = f"{short(package)}.{name.split('/')[0]}"
                    self.fuzz[target] = self.fuzz.get(target, 0) + 1
        if action == "fail" and not counts["fail"]:
            counts["fail"] = 1
        if action == "fail":
            show("", self.builds.pop(event.get("FailedBuild", ""), []))
            show("", output)
        self.passed += counts["pass"]
        self.failed += counts["fail"]
        self.skipped += counts["skip"]
        if not tests and action != "fail":
            return False  # no tests in it
        self.stage_tests += sum(counts.values())
        self.stage_packages += 1
        more = "".join(f", {counts[key]} {word}" for key, word in (("fail", "failed"), ("skip", "skipped")) if counts[key])
        cached = ", cached" if any("(cached)" in line for line in output) else ""
        word = "FAIL" if action == "fail" else "ok  "
        say(f"{word} {package} {event.get('Elapsed', 0.0):.1f} s: {counts['pass']} passed{more}{cached}")
        return True


def fails_below(tests, name):
    return any(test.result == "fail" for key, test in tests.items() if key.startswith(name + "/"))


def short(package):
    """The folders of a package within its module, for lines that name many."""
    return package.split("/", 3)[3] if package.count("/") > 2 else package.rsplit("/", 1)[-1]


def show(title, output):
    if title:
        say(title)
    for line in output:
        if not NOISE.match(line):
            say("    " + line.rstrip("\n"))


def say(text):
    print(text, flush=True)
