#!/usr/bin/env python3
"""Checks that what the documentation names exists: relative links, files in `code`, and the options of gogrid.

    scripts/check_docs.py PATH_OF_GOGRID
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMANDS = ("serve", "run", "plan", "bench", "devices", "models import", "models list", "models show", "models verify",
            "models rm", "completion")


def known_options(gogrid):
    text = subprocess.run([gogrid, "--help"], capture_output=True, text=True, check=True).stdout
    for command in COMMANDS:
        text += subprocess.run([gogrid, *command.split(), "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z][a-z0-9-]+", text))


def main():
    options, faults = known_options(sys.argv[1]), []
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")]):
        text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT)
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in link and not (page.parent / link).exists():
                faults.append(f"{name}: no file {link}")
        for line in text.splitlines():
            if "gogrid " in line and "llama" not in line:
                for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line):
                    if option not in options:
                        faults.append(f"{name}: gogrid has no option {option}")
    print("\n".join(faults) if faults else "docs: every link and option exists")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
