#!/bin/sh
# Builds maintenance.wasm with the WASI toolchain that Zig has: `pip install ziglang`.
set -eu
cd "$(dirname "$0")"
zig c++ -target wasm32-wasi -mexec-model=reactor -std=c++20 -Wall -Werror -fno-exceptions -Oz -s \
  -Wl,-z,stack-size=65536 -Wl,--export=malloc -o maintenance.wasm maintenance.cc
