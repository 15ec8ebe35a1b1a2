#!/usr/bin/env bash
# Runs everything in examples/ against a server of the demo model, as a user would.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill "$server" 2> /dev/null || true
  wait 2> /dev/null || true
  rm -rf "$data"
}
trap finish EXIT
export GOGRID_DATA=$data
build/release/gogrid models import models/SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2-135m
build/release/gogrid serve --mode aggressive --model smollm2-135m --listen 127.0.0.1:0 > "$data/out" &
server=$!
for _ in $(seq 600); do
  grep -q '^listening on' "$data/out" && break
  kill -0 "$server" || { echo "examples: the server did not start" >&2; exit 1; }
  sleep 0.1
done
GOGRID_URL=$(sed -n 's/^listening on //p' "$data/out")
export GOGRID_URL
scripts/python_env.sh
examples/chat.sh
.venv/bin/python examples/chat.py
