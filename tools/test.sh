#!/bin/sh
# All checks, on both dependency sets where the interpreters exist: .venv has one, the other gets its own environment.
# HOSTS=on: tests that need instances as Linux hosts fail where they cannot run, instead of being skipped, and the packages
# that hosts need are installed, as root of Debian or Ubuntu and after saying so.
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-$PWD/.venv}
set -- --venv "$venv" "$@"

has=$("$venv/bin/python" -c 'import sys; print("3.11" if sys.version_info < (3, 12) else "3.12")')
other=3.12
[ "$has" = 3.11 ] || other=3.11
if PYTHON="" tools/find_python.sh "$other" >/dev/null 2>&1; then
    PYTHON="" tools/venv.sh "$PWD/.venv-python$other" "$other" dev
    set -- --venv "$PWD/.venv-python$other" "$@"
else
    echo "No interpreter for the set of Python $other on this machine: testing with the set of $has only."
fi
[ "${HOSTS:-}" != on ] || "$venv/bin/python" tools/embedded_aws packages
exec "$venv/bin/python" tools/check.py "$@"
