#!/usr/bin/env bash
# Installs what GoGrid is built and tested with: Debian's packages, nothing else.
#
#   scripts/setup.sh            everything `make build`, `make test` and `make lint` need
#   scripts/setup.sh --bench    also the programs that bench/ compares with
#   scripts/setup.sh --dry-run  only says what it would change
#
# Needs root or sudo. Idempotent: a second run that finds everything in place changes nothing and asks
# for no privilege. On Debian 12 and 13 it adds the suite "forky" (Debian 14) at low priority from the mirror
# that this machine already uses; installing all of GoGrid's packages from the one suite is what
# keeps them consistent (mixing single -dev packages of an older release does not link).
set -euo pipefail

readonly kSuite=forky
readonly kSourceFile=/etc/apt/sources.list.d/gogrid-$kSuite.sources
readonly kPinFile=/etc/apt/preferences.d/gogrid-$kSuite

build_packages=(
  g++-16 binutils cmake ninja-build ccache pkgconf make git ca-certificates
  libggml-dev libggml0-backend-vulkan mesa-vulkan-drivers libllama-dev
  libdrogon-dev libpq-dev libsqlite3-dev libmariadb-dev libhiredis-dev libyaml-cpp-dev libbrotli-dev libssl-dev
  libcurl4-openssl-dev
  nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libspdlog-dev prometheus-cpp-dev
  libsodium-dev libsystemd-dev libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv python3-pip)
check_packages=(clang-21 clang-format-21 clang-tidy-21 libclang-rt-21-dev shellcheck curl llama.cpp-tools llama.cpp-tools-extra
  dbus-daemon python3-dbusmock)
bench_packages=(libggml0-backend-rpc)
# Being installed is not enough where a base system has an older one: its linker cannot link what g++-16 emits, and its
# libraries are built for another standard library.
minimum_versions=(binutils=2.45 cmake=3.28 libgtest-dev=1.15 libgmock-dev=1.15 libbenchmark-dev=1.9)

dry_run=false
packages=("${build_packages[@]}" "${check_packages[@]}")
for argument in "$@"; do
  case "$argument" in
    --dry-run) dry_run=true ;;
    --bench) packages+=("${bench_packages[@]}") ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup: unknown option '$argument' (known: --bench, --dry-run, --help)" >&2; exit 2 ;;
  esac
done

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$1"; exit "${2:-1}"; }

[ -r /etc/os-release ] || fail "no /etc/os-release: this script knows Debian 12, 13 and 14" 3
# shellcheck disable=SC1091
. /etc/os-release
case "${ID:-}:${VERSION_CODENAME:-}" in
  debian:bookworm|debian:trixie|debian:forky|debian:sid) ;;
  *) fail "found ${PRETTY_NAME:-an unknown system}; this script knows Debian 12, 13 and 14" 3 ;;
esac

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
for entry in "${minimum_versions[@]}"; do
  installed=$(dpkg-query -W -f '${Version}' "${entry%%=*}" 2>/dev/null || true)
  [ -n "$installed" ] || continue  # in `missing` already
  # An epoch ("1:0.7") is not part of what upstream calls its version.
  dpkg --compare-versions "${installed#*:}" ge "${entry#*=}" || missing+=("${entry%%=*}")
done
if [ "${#missing[@]}" -eq 0 ]; then
  say "everything is in place"
  exit 0
fi

# The URI of the first enabled source that carries this release's own suite, in either format of sources files.
configured_mirror() {
  {
    awk -v suite="$VERSION_CODENAME" '
      tolower($1) == "uris:" { uri = $2 }
      tolower($1) == "suites:" { for (i = 2; i <= NF; ++i) if ($i == suite && uri != "") print uri }
      NF == 0 { uri = "" }' /etc/apt/sources.list.d/*.sources
    awk -v suite="$VERSION_CODENAME" '
      $1 == "deb" { sub(/\[[^]]*\] */, ""); if ($3 == suite) print $2 }' \
      /etc/apt/sources.list /etc/apt/sources.list.d/*.list
  } 2> /dev/null | head -n 1 || true
}

if [ "$(id -u)" -eq 0 ]; then as_root=(env); else as_root=(sudo env); fi
target_options=()
write_root() { "${as_root[@]}" tee "$1" > /dev/null; }

case "$VERSION_CODENAME" in
  bookworm|trixie)
    target_options=(-t "$kSuite")
    mirror=$(configured_mirror)
    [ -n "$mirror" ] || fail "no apt source for $VERSION_CODENAME found; add one, then run this again"
    if [ ! -e "$kSourceFile" ] || [ ! -e "$kPinFile" ]; then
      say "adds $kSourceFile ($mirror, suite $kSuite) and $kPinFile (priority 100: nothing else is upgraded)"
    fi ;;
  *)
    # The suite's base-files, once installed, lets Debian 12 and 13 call themselves Debian 14; their own packages still
    # have the higher priority, and an older -dev package does not go with the suite's library.
    if [ -e "$kPinFile" ]; then target_options=(-t "$kSuite"); fi ;;
esac
say "installs: ${missing[*]}"
"$dry_run" && exit 0

if [ -n "${mirror:-}" ]; then
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  printf '%s\n' 'Types: deb' "URIs: $mirror" "Suites: $kSuite" 'Components: main' \
    'Check-Valid-Until: no' "Signed-By: $keyring" | write_root "$kSourceFile"
  printf '%s\n' 'Package: *' "Pin: release n=$kSuite" 'Pin-Priority: 100' | write_root "$kPinFile"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() { "$@" > "$log" 2>&1 || { cat "$log" >&2; fail "failed: $*"; }; }
say "apt-get update"
quietly "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q update
say "apt-get install (about two minutes)"
quietly "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -y \
  -o Dpkg::Options::=--force-confold --no-install-recommends "${target_options[@]}" install "${missing[@]}"
say "done"
