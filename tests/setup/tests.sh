#!/usr/bin/env bash
# Builds the tests, and meanwhile installs what they speak to: most of that is waiting for downloads.
set -euo pipefail
cd "$(dirname "$0")/../.."

# One after the other: a package manager lets nobody else in.
for part in envoy promtool languages grpc peers; do
  "tests/setup/$part.sh" || exit
done && tests/setup/packages.sh docker-registry groff-base openssl &
parts=$!
trap 'kill "$parts" 2>/dev/null || true' EXIT
cargo test --workspace --exclude guests --no-run
wait "$parts"
