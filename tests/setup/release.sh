#!/usr/bin/env bash
# Builds the binary to ship, as build/release/tidegate. It is built twice: first so that it records what it does under
# the benchmark's loads, then so that what was seen there is made fast (profile-guided optimisation). A processor's
# caches hold less than what a request runs through, so where code lies matters as much as how much of it there is.
set -euo pipefail
cd "$(dirname "$0")/../.."

host=$(rustc --version --verbose | sed --quiet 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [[ ! -x $profdata ]]; then
  rustup component add llvm-tools || { echo "release.sh: add the component llvm-tools to this Rust" >&2; exit 1; }
fi

folder=$PWD/build/pgo
build() { # NAME FLAGS: naming the target keeps the flags from what runs while building
  RUSTFLAGS=$2 cargo build --release --package tidegate --bin tidegate --target "$host" --target-dir "$folder/$1"
}

echo "=== a build that records (1 of 3)"
build recording "-Cprofile-generate=$folder/raw"
recording=$folder/recording/$host/release/tidegate
profile=$folder/profile-$(sha256sum <"$recording" | head --bytes 16) # by what it is of: cargo looks at the name only

echo "=== the benchmark's loads (2 of 3)"
if [[ ! -f $profile ]]; then
  rm -rf "$folder/raw"
  # What sends the loads need not be the fastest there is, and is built already where tests were.
  cargo bench --profile dev --package tidegate --bench compare -- --contenders tidegate --rounds 1 --seconds 2 --rate 1000 \
    --tidegate "$recording" --report "$folder/loads.md"
  "$profdata" merge --output="$profile" "$folder/raw"
fi

echo "=== the build to ship (3 of 3)"
build optimised "-Cprofile-use=$profile"
mkdir -p build/release
cp "$folder/optimised/$host/release/tidegate" build/release/tidegate
echo "build/release/tidegate"
