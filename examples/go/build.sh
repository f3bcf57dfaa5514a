#!/bin/sh
# Builds correlation.wasm: Go 1.24 or later, and nothing else.
set -eu
cd "$(dirname "$0")"
GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o correlation.wasm .
