#!/usr/bin/env bash
# Sees to a Rust compiler for this machine and to one for wasm32, which builds the filters.
#
# The project's own `tidegate-build` finds or installs the second; what it answered is remembered until the compiler
# changes, because asking costs a build.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v cargo >/dev/null; then
  echo "toolchain.sh: there is no cargo: install Rust as https://rustup.rs says, then run this again" >&2
  exit 1
fi
command -v cc >/dev/null || tests/setup/packages.sh gcc libc6-dev

stamp=build/wasm32-toolchain
known=$(rustc --version --verbose)
if [[ -f $stamp && $(<"$stamp") == "$known" ]]; then
  exit 0
fi
mkdir -p build
cargo run --quiet --package tidegate-build -- toolchain ||
  cargo run --quiet --package tidegate-build -- toolchain install
printf '%s' "$known" >"$stamp"
