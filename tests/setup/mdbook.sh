#!/usr/bin/env bash
# Installs mdBook, which builds the book in docs/, as build/bin/mdbook: from PyPI, pinned (see requirements-docs.txt).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/python.sh

install_pinned docs tests/setup/requirements-docs.txt && exit 0
ln -sf "$PWD/build/venv-docs/bin/mdbook" build/bin/mdbook
build/bin/mdbook --version
remember docs tests/setup/requirements-docs.txt
