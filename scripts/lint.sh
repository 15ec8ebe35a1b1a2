#!/usr/bin/env bash
# What `make lint` checks. GOGRID_TIDY=1 adds clang-tidy over every source, which takes many minutes on two cores.
# shellcheck disable=SC2317,SC2329  # functions are called through check(); older versions call it 2317
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
check() {
  local name=$1
  shift
  if "$@" > "build/lint-$name.log" 2>&1; then
    echo "lint: $name ok"
  else
    echo "lint: $name FAILED"
    tail -n 60 "build/lint-$name.log"
    failed=1
  fi
}
mkdir -p build
mapfile -t sources < <(git ls-files '*.h' '*.cpp')
check format clang-format-21 --dry-run --Werror "${sources[@]}"
check layers scripts/check_layers.py
check shell shellcheck scripts/*.sh .ci/run
[ -e build/release/compile_commands.json ] || cmake --preset release > build/lint-configure.log

# Clang sees what g++ does not: the thread-safety analysis over all of src.
clang_analysis() {
  git ls-files 'src/*.cpp' | xargs -P 2 -I{} clang++-21 -std=c++23 -Isrc -I/usr/include/jsoncpp -DGOGRID_VERSION='"lint"' -fsyntax-only \
    -Wthread-safety -Wno-unknown-warning-option -Werror {}
}
check thread-safety clang_analysis
tidy() {
  git ls-files 'src/*.cpp' | xargs -P 2 -n 4 clang-tidy-21 --quiet -p build/release
}
[ -z "${GOGRID_TIDY:-}" ] || check tidy tidy
exit "$failed"
