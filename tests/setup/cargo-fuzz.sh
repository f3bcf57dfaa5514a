#!/usr/bin/env bash
# Installs cargo-fuzz into build/cargo-fuzz: for `make fuzz`, not for the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.13.2

if ! build/cargo-fuzz/bin/cargo-fuzz --version 2>/dev/null | grep --quiet --fixed-strings "$version"; then
  cargo install --quiet --locked --root build/cargo-fuzz "cargo-fuzz@$version"
fi
