# Sourced by the scripts beside it, from the project's folder: virtual environments under build/, from pinned lists.

# Makes build/venv-NAME with exactly what the list names. Returns 0 where that was done before, 1 where it is new.
install_pinned() { # NAME LIST
  local venv=build/venv-$1
  if [[ -f $venv/installed ]] && cmp --silent "$2" "$venv/installed"; then
    return 0
  fi
  if [[ $(uname -sm) != "Linux x86_64" ]]; then
    echo "$2: these packages are for Linux on x86_64" >&2
    exit 1
  fi
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    tests/setup/packages.sh python3 python3-venv
  fi
  rm -rf "$venv"
  mkdir -p build/bin
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$2" || exit
  return 1
}

# What install_pinned finds the next time.
remember() { # NAME LIST
  cp "$2" "build/venv-$1/installed"
}
