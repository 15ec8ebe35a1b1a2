#!/usr/bin/env bash
# A chat answer with nothing but curl. GOGRID_URL: where `gogrid serve` listens.
set -euo pipefail
url=${GOGRID_URL:-http://127.0.0.1:8080}
curl --silent --fail-with-body "$url/v1/chat/completions" -H 'Content-Type: application/json' -d '{
  "model": "smollm2-135m",
  "messages": [{"role": "user", "content": "Name three colours."}],
  "max_tokens": 40
}'
echo
