# Sourced by the verbs beside it: finds Python, makes .venv once, installs what requirements*.lock pins (by hash).
# After `setup runtime` or `setup test`, "$PY" is the Python to use.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="${GUARDHOUSE_VENV:-$ROOT/.venv}"
PY="$VENV/bin/python"

find_python() {
  local name
  for name in python3.13 python3.12 python3 python; do
    if (cd "$ROOT" && "$name" -c 'import sys; sys.exit(not ((3, 12) <= sys.version_info[:2] <= (3, 13)))') >/dev/null 2>&1; then
      (cd "$ROOT" && "$name" -c 'import sys; print(sys.executable)')
      return 0
    fi
  done
  echo "Guardhouse needs Python 3.13 (3.12 works too), and none was found." >&2
  echo "Install one (for example: apt install python3.13 python3.13-venv, or pyenv install 3.13), then run this again." >&2
  return 1
}

# The locks of Python 3.12 bear its name: mitmproxy asks for other versions there.
lock_tail() { "$1" -c 'import sys; print("-py312" if sys.version_info[:2] == (3, 12) else "")'; }

# Run a command, and show what it said only when it failed.
quietly() {
  local said
  if ! said=$("$@" 2>&1); then printf '%s\n' "$said" >&2; exit 1; fi
}

setup() {
  local what=$1 lock stamp python tail
  python=$PY
  [ -x "$PY" ] || python=$(find_python) || exit 1
  tail=$(lock_tail "$python")
  lock="$ROOT/requirements$tail.lock"
  [ "$what" = test ] && lock="$ROOT/requirements-test$tail.lock"
  stamp="$VENV/.installed-$what-$(cat "$lock" "$ROOT/pyproject.toml" | cksum | cut -d' ' -f1)"
  [ -e "$stamp" ] && [ -x "$PY" ] && return 0
  echo "Setting up in $VENV: $(grep -c '==' "$lock") packages, each checked by its hash; some 450 MB on disk, 150 MB to fetch. This happens once." >&2
  [ -x "$PY" ] || "$python" -m venv "$VENV" || exit 1
  quietly "$PY" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
  quietly "$PY" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e "$ROOT"
  rm -f "$VENV"/.installed-"$what"-*
  : >"$stamp"
}
