#!/usr/bin/env python3
"""Checks that what the documentation names exists: relative links, files and folders in `code`, make targets, and the commands and
options of gogrid. Comments in src/ that name a page are checked too.

    scripts/check_docs.py PATH_OF_GOGRID
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What a reader is told to look at in the repository; build/, models/ and the data folder's own are made later.
FOLDERS = ("src", "tests", "scripts", "docs", "bench", "examples", "cmake", ".ci")


def help_of(gogrid, *command):
    return subprocess.run([gogrid, *command, "--help"], capture_output=True, text=True, check=True).stdout


def commands_in(page):
    """Names under COMMANDS in a page of --help."""
    section = re.search(r"^COMMANDS\n((?:  .*\n)+)", page, re.M)
    return re.findall(r"^  (\w+)", section.group(1), re.M) if section else []


def surface(gogrid):
    """Every command ("models import") with the options its page names."""
    known = {}
    for name in commands_in(help_of(gogrid)):
        page = help_of(gogrid, name)
        below = commands_in(page)
        known[name] = set(re.findall(r"--[a-z][a-z0-9-]+", page))
        for inner in below:
            known[f"{name} {inner}"] = set(re.findall(r"--[a-z][a-z0-9-]+", help_of(gogrid, name, inner)))
    return known


def code_of(text):
    """Pieces of code: lines of ```sh blocks (without comments, continued lines joined), and what stands between backticks."""
    fenced = [block.replace("\\\n", " ") for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)]
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
    lines = [line.split(" #")[0] for block in fenced for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", rest)


def faults_of_command(code, known):
    for words in re.findall(r"(?:^|[ /(])gogrid ([^|;&>)]*)", code):
        parts = words.split()
        if not parts or not re.fullmatch(r"[a-z]+", parts[0]):
            if any(p.startswith("--") and p not in ("--help", "--version") for p in parts[:1]):
                yield f"gogrid has no option {parts[0]}"
            continue
        name = " ".join(parts[:2]) if " ".join(parts[:2]) in known else parts[0]
        if name not in known:
            yield f"gogrid has no command {name}"
            continue
        for option in (p.split("=")[0] for p in parts if p.startswith("--")):
            if option not in known[name] and option != "--help":
                yield f"gogrid {name} has no option {option}"


def faults_of_page(page, known, targets):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in link and not (page.parent / link).exists():
            yield f"no file {link}"
    for code in code_of(text):
        yield from faults_of_command(code, known)
        for target in re.findall(r"^make ([a-z ]+)", code):
            yield from (f"no make target {t}" for t in target.split() if t not in targets)
        for path in re.findall(r"(?<![\w/.-])((?:%s)/[\w./-]+)" % "|".join(map(re.escape, FOLDERS)), code):
            path = path.rstrip(".")
            # `http/routes` names a header and its source.
            if not (ROOT / path).exists() and not list(ROOT.glob(path + ".*")) and "NAME" not in path:
                yield f"no file {path}"


def main():
    known = surface(sys.argv[1])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    pages = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("examples/*.md")])
    faults = [f"{page.relative_to(ROOT)}: {fault}" for page in pages for fault in faults_of_page(page, known, targets)]
    for source in sorted(ROOT.glob("src/*/*.*")):
        for page in re.findall(r"(?<![\w/-])((?:docs|bench)/[\w-]+\.md)", source.read_text(encoding="utf-8")):
            if not (ROOT / page).exists():
                faults.append(f"{source.relative_to(ROOT)}: no page {page}")
    print("\n".join(faults) if faults else f"docs: {len(pages)} pages, every link, file, command and option exists")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
