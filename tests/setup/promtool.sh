#!/usr/bin/env bash
# Gets promtool, which says whether /metrics is what Prometheus reads, as build/bin/promtool: out of Debian's package,
# which is not installed, because that would start a server.
set -euo pipefail
cd "$(dirname "$0")/../.."

[[ -x build/bin/promtool ]] && exit 0
mkdir -p build/bin
if installed=$(command -v promtool); then
  ln -s "$installed" build/bin/promtool
  exit 0
fi
command -v apt-get >/dev/null || { echo "promtool.sh: install promtool by hand" >&2; exit 1; }
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
download() { (cd "$folder" && apt-get download --quiet=2 prometheus); }
if ! download 2>/dev/null; then # the lists are old, or there are none
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update --quiet=2
  download
fi
dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar --extract --to-stdout ./usr/bin/promtool >"$folder/promtool"
chmod +x "$folder/promtool"
"$folder/promtool" --version | sed --quiet 's/^promtool, version \([^ ]*\).*/got promtool \1/p'
mv "$folder/promtool" build/bin/promtool
