#!/usr/bin/env python3
"""Checks the tree itself. check.py NAME... [--root FOLDER] [--compiler CXX]; without a name, all checks.

Each check yields lines "path:line: what is wrong"; any line makes the exit code 1. check_test.py shows that each of
them finds what it is for.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


class Tree:
    def __init__(self, root, compiler="c++"):
        self.root = pathlib.Path(root).resolve()
        self.compiler = compiler

    def files(self, *suffixes):
        """Our own files, sorted: what git would commit, or everything outside build folders when there is no git."""
        listed = subprocess.run(["git", "-C", self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                capture_output=True)
        if listed.returncode == 0:
            paths = [self.root / name for name in listed.stdout.decode().split("\0") if name]
        else:
            paths = [p for p in self.root.rglob("*")
                     if not p.relative_to(self.root).parts[0].startswith(("build", ".git"))]
        return sorted(p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes))

    def name(self, path):
        return str(path.relative_to(self.root))

    def code_map(self):
        """The table of ARCHITECTURE.md: folder -> set of folders of src/ that it may include, or None outside src/."""
        rows = {}
        for line in text_of(self.root / "ARCHITECTURE.md").splitlines():
            row = re.match(r"\| `([\w/.]+)/` \| (.*?) \|(.*)\|$", line)
            if row:
                folder, _, allowed = row.groups()
                rows[folder] = set(allowed.replace("–", "").split()) if folder.startswith("src/") else None
        return rows


@check
def layers(tree):
    """Each #include "folder/..." in src/ stands in the third column of ARCHITECTURE.md, and so does each DEPENDS."""
    rows = tree.code_map()
    for path in tree.files(".h", ".cc"):
        parts = path.relative_to(tree.root).parts
        if parts[0] != "src":
            continue
        folder = parts[1]
        allowed = rows.get(f"src/{folder}")
        if allowed is None:
            continue  # `folders` says so
        for number, line in enumerate(text_of(path).splitlines(), 1):
            include = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not include:
                continue
            other = include.group(1).split("/")[0]
            if "/" not in include.group(1):
                yield f"{tree.name(path)}:{number}: {include.group(1)}: includes are rooted at src/"
            elif other != folder and other not in allowed:
                yield f"{tree.name(path)}:{number}: src/{folder} may not include {other}/ (ARCHITECTURE.md)"


@check
def folders(tree):
    """The code map names each folder of src/, tests/ and the root that holds files, and no folder that does not."""
    rows = tree.code_map()
    if not rows:
        yield "ARCHITECTURE.md:1: no code map found"
    on_disk = set()
    for path in tree.files():
        parts = path.relative_to(tree.root).parts
        if len(parts) > 1 and not parts[0].startswith("."):
            deep = parts[0] in ("src", "tests") and len(parts) > 2
            if deep or parts[0] not in ("src", "tests"):
                on_disk.add("/".join(parts[:2 if deep else 1]))
    for folder in sorted(on_disk - rows.keys()):
        yield f"{folder}: a new folder needs a sentence in ARCHITECTURE.md first"
    for folder in sorted(rows.keys() - on_disk):
        yield f"ARCHITECTURE.md:1: {folder}/ is in the code map but holds no file"


@check
def headers(tree):
    """Each header of src/ compiles alone."""
    def compile_alone(path):
        command = [tree.compiler, "-std=gnu++20", "-fno-rtti", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                   "-I", str(tree.root / "src"), "-x", "c++", "-"]
        return path, subprocess.run(command, input=f'#include "{path}"\n', capture_output=True, text=True)
    source = [p for p in tree.files(".h") if p.relative_to(tree.root).parts[0] == "src"]
    if not source:
        yield "src: no headers found"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for path, run in pool.map(compile_alone, source):
            if run.returncode != 0:
                first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr[:200])
                yield f"{tree.name(path)}:1: does not compile alone: {first}"


@check
def links(tree):
    """Relative links in Markdown lead somewhere."""
    for path in tree.files(".md"):
        text = re.sub(r"```.*?```", lambda m: "\n" * m.group().count("\n"), text_of(path), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", target) or target.startswith("#"):
                    continue
                if not (path.parent / target.split("#")[0]).exists():
                    yield f"{tree.name(path)}:{number}: link to {target}, which is not there"


KEY = r"(?<![\w\[\]\)])\[(?!0x)([A-Z0-9][\w.-]*[A-Za-z0-9])(?: [^\]]*)?\](?!\()"


def known_keys(tree):
    page = tree.root / "docs/sources.md"
    rows = re.findall(r"^\| (`\[.*?) \|", text_of(page), re.M) if page.exists() else []
    return {key for row in rows for key in re.findall(r"`\[([^\]]+)\]`", row)}


@check
def source_keys(tree):
    """Each [KEY chapter] in a comment stands in docs/sources.md."""
    known = known_keys(tree)
    if not known:
        yield "docs/sources.md:1: no keys found"
    for path in tree.files(".h", ".cc"):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            comment = re.search(r"//(.*)", line)
            if not comment:
                continue
            for key in re.findall(KEY, re.sub(r"`[^`]*`", "", comment.group(1))):
                looks_like_a_key = re.search(r"[A-Za-z]", key) and re.search(r"\d|[A-Z].*[a-z]|^[A-Z]{3,}", key)
                is_register = re.fullmatch(r"[RE][A-Z]{2}", key)
                if looks_like_a_key and not is_register and key not in known:
                    yield f"{tree.name(path)}:{number}: [{key}] is not in docs/sources.md"


@check
def commit_titles(tree):
    """Commits are titled `area: what changes`, in at most 72 characters."""
    log = subprocess.run(["git", "-C", tree.root, "log", "--no-merges", "--format=%h %s"], capture_output=True, text=True)
    for line in log.stdout.splitlines() if log.returncode == 0 else []:
        commit, title = line.split(" ", 1)
        if len(title) > 72:
            yield f"commit {commit}: the title has {len(title)} characters: {title}"
        elif not re.match(r"[a-z0-9_/., -]+: \S", title):
            yield f"commit {commit}: the title is not `area: what changes`: {title}"


@check
def plain_text(tree):
    """No binary files, no tabs or trailing blanks in sources, no marks of unfinished work."""
    unfinished = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    for path in tree.files():
        data = path.read_bytes()
        if b"\0" in data:
            yield f"{tree.name(path)}:1: binary file"
            continue
        for number, line in enumerate(data.decode("utf-8", errors="replace").split("\n"), 1):
            if unfinished.search(line):
                yield f"{tree.name(path)}:{number}: a mark of unfinished work"
            if path.suffix in (".h", ".cc", ".py", ".sh") and (line != line.rstrip() or "\t" in line):
                yield f"{tree.name(path)}:{number}: tab or blank at the end"


BLOCK = ["State", "Features", "Missing", "Differs from the hardware", "Source"]


def device_block(path):
    """The five lines that open a device's header, as {word: text}; {} when the header has none."""
    block, word = {}, None
    for line in text_of(path).splitlines():
        if not line.startswith("//"):
            break
        start = re.match(r"// (" + "|".join(BLOCK) + r"):\s*(.*)", line)
        if start:
            word = start.group(1)
            block[word] = start.group(2).strip()
        elif word and re.match(r"//\s{2,}\S", line):
            block[word] += " " + line[2:].strip()
        else:
            word = None
    return block


def device_headers(tree):
    """All headers of devices and interrupt controllers that open with such a block."""
    return [p for p in tree.files(".h") if tree.name(p).startswith(("src/device/", "src/interrupt/"))
            and "State" in device_block(p)]


@check
def device_blocks(tree):
    """Each folder of src/device/ has a header that opens with the five lines, and each such block is whole."""
    found = device_headers(tree)
    for path in found:
        block = device_block(path)
        for word in BLOCK:
            if not block.get(word):
                yield f'{tree.name(path)}:1: the block at the top lacks "{word}:"'
        if block.get("State", "").split(",")[0].split(" ")[0].rstrip(".") not in ("stable", "partial", "experimental"):
            yield f"{tree.name(path)}:1: State is stable, partial or experimental"
    device = tree.root / "src/device"
    for folder in sorted(p for p in device.iterdir() if p.is_dir()) if device.exists() else []:
        if any(folder.glob("*.h")) and not any(p.parent == folder for p in found):
            yield f"{tree.name(folder)}: no header opens with the lines {', '.join(BLOCK)}"


@check
def devices_page(tree):
    """docs/devices.md is what tools/devices makes of the headers."""
    run = subprocess.run([sys.executable, str(tree.root / "tools/devices"), "--print"], capture_output=True, text=True)
    page = tree.root / "docs/devices.md"
    if run.returncode != 0:
        yield f"tools/devices:1: {run.stderr.strip()}"
    elif not page.exists() or text_of(page) != run.stdout:
        yield "docs/devices.md:1: out of date, run tools/devices"


@check
def claims(tree):
    """Each row of docs/claims.md names tests that exist, or says *pending*."""
    page = tree.root / "docs/claims.md"
    rows = 0
    for number, line in enumerate(text_of(page).splitlines() if page.exists() else [], 1):
        row = re.match(r"\| (S\d\.\d+) \|.*\| ([^|]*) \|$", line)
        if not row:
            continue
        rows += 1
        tests = row.group(2)
        named = re.findall(r"`([^`]+)`", tests)
        if not named and "*pending*" not in tests:
            yield f"docs/claims.md:{number}: {row.group(1)} names no test and does not say *pending*"
        for name in named:
            file, _, case = name.partition(" ")
            if not (tree.root / file).exists():
                yield f"docs/claims.md:{number}: {file} is not there"
            elif case and not re.search(r"\b" + re.escape(case.split(".")[-1]) + r"\b", text_of(tree.root / file)):
                yield f"docs/claims.md:{number}: {file} has no test {case}"
    if rows == 0:
        yield "docs/claims.md:1: no claims found"


@check
def guest_init(tree):
    """The shell scripts parse."""
    for path in tree.files():
        with path.open("rb") as file:
            first = file.readline().decode("utf-8", errors="replace")
        shell = re.match(r"#!.*\b(bash|sh)\s*$", first)
        if shell:
            run = subprocess.run([shell.group(1), "-n", str(path)], capture_output=True, text=True)
            if run.returncode != 0:
                yield f"{tree.name(path)}: {run.stderr.strip()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--compiler", default="c++")
    options = parser.parse_args()
    for name in options.names:
        if name not in CHECKS:
            parser.error(f"{name}: unknown; the checks are {', '.join(CHECKS)}")
    tree = Tree(options.root, options.compiler)
    wrong = 0
    for name in options.names or CHECKS:
        for line in CHECKS[name](tree):
            print(f"{name}: {line}")
            wrong += 1
    print(f"{wrong} found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
