#!/bin/sh
# Builds security_headers.wasm: needs Node.js. `npm ci` gets the compiler and the SDK where they are not there yet.
set -eu
cd "$(dirname "$0")"
[ -d node_modules ] || npm ci
npx asc filter.ts -o security_headers.wasm --config node_modules/@assemblyscript/wasi-shim/asconfig.json \
  --use abort=abort_proc_exit --optimize
