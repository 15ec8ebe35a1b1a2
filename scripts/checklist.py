#!/usr/bin/env python3
"""Runs the tests behind each line of tests/checklist.txt and prints what came of it.

    scripts/checklist.py BUILD_FOLDER

Fails when a test fails, when a filter names no test, and names what was skipped. Needs GOGRID_TEST_MODEL for whole scripts.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

LIST = pathlib.Path(__file__).resolve().parent.parent / "tests" / "checklist.txt"


def read_list():
    """[(check, [(program, filter)])]"""
    checks = []
    for number, line in enumerate(LIST.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            checks.append((line, []))
            continue
        words = line.split()
        if len(words) != 2 or not checks:
            sys.exit(f"{LIST.name}:{number}: expected a program and a filter, below a check: {line.strip()}")
        checks[-1][1].append(tuple(words))
    return checks


def run_filter(build, program, tests):
    """(passed, skipped, what is wrong)"""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        run = subprocess.run([build / "tests" / program, f"--gtest_filter={tests}", f"--gtest_output=json:{report.name}"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        text = report.read()
    if not text:
        return 0, [], [f"{program} ended with {run.returncode} and no report"]
    cases = [case for suite in json.loads(text)["testsuites"] for case in suite["testsuite"]]
    names = [f"{case['classname']}.{case['name']}" for case in cases]
    wrong = [name for name, case in zip(names, cases) if case.get("failures")]
    skipped = [name for name, case in zip(names, cases) if case["result"] == "SKIPPED"]
    # Each part of the filter must name something: a test that was renamed must not leave the list in silence.
    for part in tests.split(":"):
        pattern = re.compile(re.escape(part).replace(r"\*", ".*"))
        if not any(pattern.fullmatch(name) for name in names):
            wrong.append(f"{part} is no test of {program}")
    if run.returncode != 0 and not wrong:
        wrong.append(f"{program} ended with {run.returncode}")
    return len(names) - len(wrong) - len(skipped), skipped, wrong


def run_script(build, name):
    run = subprocess.run(["ctest", "--test-dir", build, "-R", f"^{name}$", "--no-tests=error"], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    return (1, [], []) if run.returncode == 0 else (0, [], [f"{name}: {run.stdout.strip().splitlines()[-1]}"])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = pathlib.Path(os.path.abspath(sys.argv[1]))
    failed = False
    for check, tests in read_list():
        passed, skipped, wrong = 0, [], [] if tests else ["no test stands behind it"]
        for program, what in tests:
            one = run_script(build, what) if program == "ctest" else run_filter(build, program, what)
            passed, skipped, wrong = passed + one[0], skipped + one[1], wrong + one[2]
        print(f"{'FAILED' if wrong else 'ok':6}  {check} ({passed} passed)", flush=True)
        for name in wrong:
            print(f"          failed: {name}")
        for name in skipped:
            print(f"          skipped here: {name}")
        failed = failed or bool(wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
