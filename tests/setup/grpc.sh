#!/usr/bin/env bash
# Builds gRPC's official interoperability client and server, and the benchmark of tests/bench/grpc-go, as build/bin/grpc-*:
# from the sources of grpc-go that Debian has, by the Go that languages.sh installs. Nothing on the machine is installed or
# upgraded: apt has a root of its own under build/grpc, and reads the suite below whatever the machine's is.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The suites that have it in a version whose interop programs build; the first that gives all of this is taken. These move:
# a version vanishes when there is a newer one, and what grpc-go takes may get another name.
suites=(testing sid)
packages=(
  golang-cel-expr-dev
  golang-github-cespare-xxhash-v2-dev
  golang-github-cncf-xds-dev
  golang-github-envoyproxy-go-control-plane-dev
  golang-github-envoyproxy-protoc-gen-validate-dev
  golang-github-go-jose-go-jose-dev
  golang-github-go-logr-logr-dev
  golang-github-go-logr-stdr-dev
  golang-github-golang-protobuf-1-5-dev
  golang-github-google-uuid-dev
  golang-github-spiffe-go-spiffe-dev
  golang-golang-x-net-dev
  golang-golang-x-oauth2-dev
  golang-golang-x-oauth2-google-dev
  golang-golang-x-sync-dev
  golang-golang-x-sys-dev
  golang-golang-x-text-dev
  golang-google-cloud-compute-metadata-dev
  golang-google-genproto-dev
  golang-google-grpc-dev
  golang-google-protobuf-dev
  golang-opentelemetry-otel-dev
  golang-opentelemetry-proto-dev
)

# What makes the programs anew: this script, and the sources of our own.
wanted=$(cat "$0" tests/bench/grpc-go/main.go | sha256sum | cut -d " " -f 1)
if [[ -f build/grpc/installed && $(<build/grpc/installed) == "$wanted" ]]; then
  exit 0
fi
rm -f build/grpc/unavailable
[[ -x build/bin/go ]] || tests/setup/languages.sh
command -v apt-get >/dev/null || { echo "grpc.sh: needs apt-get, to get the sources of grpc-go" >&2; exit 1; }

root=$PWD/build/grpc
# The archive that the machine's own packages are from has the other suites, too.
archive=$(apt-get indextargets --format '$(REPO_URI)' | grep --max-count 1 --extended-regexp '/debian/?$' || true)
[[ -n $archive ]] || { echo "grpc.sh: apt has no archive of Debian among its sources" >&2; exit 1; }
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
download() { # SUITE
  rm -rf "$root"/{apt,debs,go}
  mkdir -p "$root"/apt/{lists,cache/archives}/partial "$root"/{debs,go}
  echo "deb [signed-by=$keyring] $archive $1 main" >"$root/apt/sources.list"
  local apt=(-o "Dir::Etc::sourcelist=$root/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$root/apt/lists" -o "Dir::Cache=$root/apt/cache" -o Dir::State::status=/dev/null
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3)
  apt-get "${apt[@]}" update --quiet=2 && cd "$root/debs" && apt-get "${apt[@]}" download --quiet=2 "${packages[@]}"
}
build() {
  local package program
  for package in "$root"/debs/*.deb; do dpkg-deb --extract "$package" "$root/go" || return; done
  for program in client server; do
    build/bin/go build -trimpath -o "build/bin/grpc-interop-$program" "google.golang.org/grpc/interop/$program" || return
  done
  build/bin/go build -trimpath -o build/bin/grpc-bench ./tests/bench/grpc-go
}

GOROOT=$(dirname "$(dirname "$(readlink -f build/bin/go)")")
export GOROOT GOPATH=$root/go/usr/share/gocode GOCACHE=$root/cache XDG_CONFIG_HOME=$root/config
export GO111MODULE=off GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 GOFLAGS=
for suite in "${suites[@]}"; do
  if (download "$suite") && build; then
    version=$(basename "$root"/debs/golang-google-grpc-dev_*)
    version=${version#*_}
    echo "built the interop programs of grpc-go ${version%-*} from Debian $suite"
    rm -rf "$root"/{apt,debs}
    echo "$wanted" >"$root/installed"
    exit 0
  fi
done
why="no suite of Debian (${suites[*]}) gives sources of grpc-go that build"
echo "grpc.sh: $why: correct the packages' names in this script by what golang-google-grpc-dev depends on now, or name" \
  "programs that you built yourself in TIDEGATE_GRPC_INTEROP_SERVER and TIDEGATE_GRPC_INTEROP_CLIENT" >&2
[[ ${CI:-} != true ]] || exit 1
# The tests skip what takes the programs, and say so: nothing on this machine could mend it.
rm -rf "$root"/{apt,debs,go}
echo "$why" >"$root/unavailable"
