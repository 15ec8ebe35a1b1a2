#!/usr/bin/env bash
# A virtual environment with the official OpenAI client, for tests and examples.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly kClient=openai==3.54.0
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -c "import importlib.metadata as m; raise SystemExit(m.version('openai') != '${kClient#*==}')" 2> /dev/null ||
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$kClient"
