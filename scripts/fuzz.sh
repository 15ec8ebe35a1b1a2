#!/usr/bin/env bash
# Runs each fuzz target for SECONDS (default 60) from its committed corpus, one on each core. A finding is left in build/fuzz/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
cmake --preset fuzz > build-fuzz.log 2>&1 || { cat build-fuzz.log; exit 1; }
rm -f build-fuzz.log
targets=()
for source in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename -s .cpp "$source")"); done
ninja -C build/fuzz "${targets[@]}"
fuzz() {
  local target=$1
  local corpus=tests/fuzz/corpus/${target%_fuzz} work=build/fuzz/corpus-$target
  mkdir -p "$work"
  if ! "build/fuzz/tests/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=256 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$target-" "$work" "$corpus" > "build/fuzz/$target.log" 2>&1; then
    tail -n 40 "build/fuzz/$target.log"
    echo "fuzz: $target FAILED"
    return 1
  fi
  echo "fuzz: $target for $seconds s:" "$(grep -E 'number_of_executed_units|new_units_added|peak_rss' "build/fuzz/$target.log" | tr '\n' ' ')"
}
# As many at once as there are cores.
export -f fuzz
export seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'
