#!/usr/bin/env bash
# Every comparison, one after the other: bench/run_all.sh VOCABULARY.gguf (a real model, whose vocabulary the random weights borrow).
set -euo pipefail
cd "$(dirname "$0")/.."
model=build/bench-random-0.3b.gguf
[ -e "$model" ] || bench/make_model.py "$1" "$model"
for claim in serving-tax pipeline mixed-load shared-prefix start; do
  bench/compare.py "$claim" --model "$model" --json "build/bench-$claim.json"
done
