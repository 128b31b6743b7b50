"""Which test proves which rule of docs/protocol.md, and how it went."""

import json
import pathlib
import re

ID = re.compile(r"(?<![\w-])([A-Z]-\d{1,2})(?!\d)")
ROW = re.compile(r"^\| ([A-Z]-\d+) \| (.+?) \| ?(.*?) ?\|$", re.M)
# A comment block that ends in a function, and the function.
FUNCTION = re.compile(r"((?:^//.*\n)*)^func ((?:Test|Fuzz)\w+)\(", re.M)
# Numbers of cases may stand before it: "// F-1, S-2; proves: V-4".
PROVES = re.compile(r"^// (?:[A-Z]-\d+(?:, [A-Z]-\d+)*; )?proves: (.+)$", re.M)
# Texts that may name subtests: not what a test says when it fails.
TEXT = re.compile(r'"([^"\\\n]*)"')
SAYS = re.compile(r"\.(Error|Fatal|Log|Skip)f?\(|(?:^|\s)//")


class Rule:
    def __init__(self, name, text, mark):
        self.name, self.text = name, text
        self.waits, self.partly = mark.startswith("waits"), mark.startswith("partly")
        self.note = mark.partition(": ")[2]
        if mark and not re.match(r"(waits|partly): \S", mark):
            raise ValueError(f"{name}: want waits: or partly: and why, not {mark!r}")


def read_rules(path):
    """The rules in the order of the document."""
    rules = [Rule(*row) for row in ROW.findall(pathlib.Path(path).read_text())]
    names = [rule.name for rule in rules]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: no rule, or one twice")
    return rules


def read_claims(root):
    """What the sources say: {(folder, function): IDs} of the comments, and {ID: files} of all."""
    comments, named = {}, {}
    for path in sorted(pathlib.Path(root).rglob("*_test.go")):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "_")) or part == "testdata" for part in parts):
            continue
        source = path.read_text()
        folder = "/".join(parts[:-1])
        found = set()
        for comment, function in FUNCTION.findall(source):
            found.update(ID.findall(function.replace("_", "-")))
            for claim in PROVES.findall(comment):
                ids = [name.strip() for name in claim.split(",")]
                wrong = [name for name in ids if not ID.fullmatch(name)]
                if wrong:
                    raise ValueError(f"{path}: {function} proves {wrong[0]!r}, which is no ID")
                comments.setdefault((folder, function), []).extend(ids)
                found.update(ids)
        for line in source.splitlines():
            if not SAYS.search(line):
                for text in TEXT.findall(line):
                    found.update(ID.findall(text))
        for name in found:
            named.setdefault(name, []).append("/".join(parts))
    return comments, named


class Proofs:
    """Reads the events of go test -json and keeps what proves a rule."""

    def __init__(self, rules, comments, module):
        self.rules, self.module = {rule.name: rule for rule in rules}, module
        self.comments = comments
        self.found = {rule.name: {} for rule in rules}  # ID -> "folder test" -> result

    def take(self, line):
        try:
            event = json.loads(line)
        except ValueError:
            return
        name, action = event.get("Test"), event.get("Action")
        if not name or action not in ("run", "pass", "fail", "skip"):
            return
        folder = event.get("Package", "").removeprefix(self.module).lstrip("/")
        first, *rest = name.split("/")
        ids = set(ID.findall(first.replace("_", "-"))) | set(self.comments.get((folder, first), []) if not rest else [])
        ids.update(ID.findall(rest[-1].replace("_", " ")) if rest else [])
        for rule in ids & self.found.keys():
            tests = self.found[rule]
            # A name that a parent has already given says nothing new.
            if not any(f"{folder} {parent}" in tests for parent in parents(name)):
                tests[f"{folder} {name}"] = action

    def verdict(self, name):
        """passed, partly, FAILED, MISSING or waits."""
        if self.rules[name].waits:
            return "waits"
        results = set(self.found[name].values())
        if not results - {"skip"}:
            return "MISSING"
        if not results <= {"pass", "skip"}:  # "run": it never ended
            return "FAILED"
        return "partly" if self.rules[name].partly else "passed"


def parents(name):
    cut = name.split("/")
    return ["/".join(cut[:n]) for n in range(1, len(cut))]
