#!/bin/sh
# Prints the path of a Python that the project can use; reports what is missing if there is none.
#
#     find_python.sh            the best one
#     find_python.sh 3.11       one for the set of Python 3.11;  3.12: one for the set of 3.12 and later
#
# PYTHON=… names the one to use. Version managers leave shims on the PATH that exist and fail: each candidate is run.
set -u
wanted=${1:-any}
rejected=""

probe='
import sys
version = sys.version_info[:2]
if sys.implementation.name != "cpython":
    sys.exit("is no CPython")
if version < (3, 11):
    sys.exit("is Python %d.%d, and 3.11 is the oldest that will do" % version)
if version > (3, 14) and len(sys.argv) < 3:
    sys.exit("is Python %d.%d, which is not tested yet" % version)
set = "3.11" if version == (3, 11) else "3.12"
if sys.argv[1] not in ("any", set):
    sys.exit("is Python %d.%d" % version)
try:
    import ensurepip, ssl, venv
except ImportError as missing:
    sys.exit("lacks the module %s (on Debian and Ubuntu: apt install python%d.%d-venv)" % ((missing.name,) + version))
print(getattr(sys, "_base_executable", None) or sys.executable)
'

try() { # CANDIDATE [chosen]: prints its real path if it will do
    said=$("$1" -I -c "$probe" "$wanted" ${2:+"$2"} 2>&1 </dev/null) && {
        echo "$said"
        exit 0
    }
    reason=$(printf '%s\n' "$said" | tail -n 1)
    case $said in *"command not found"* | "") reason="is only a shim, or does not run" ;; esac
    rejected="$rejected
    $1 $reason"
}

if [ -n "${PYTHON:-}" ]; then
    chosen=$(command -v "$PYTHON") || {
        echo "PYTHON=$PYTHON: program not found." >&2
        exit 1
    }
    try "$chosen" chosen
    if [ "$wanted" = any ]; then
        echo "PYTHON=$PYTHON cannot be used:$rejected" >&2
        exit 1
    fi
fi

names="python3.13 python3.12 python3.14 python3.11 python3 python"
for name in $names; do
    IFS=:
    for directory in ${PATH:-/usr/bin}; do
        unset IFS
        case ${directory:-.} in */.venv*/bin | .) continue ;; esac # our own, which are made from what we look for
        [ -x "$directory/$name" ] && [ ! -d "$directory/$name" ] && try "$directory/$name"
    done
    unset IFS
done
# Where version managers keep Pythons that the PATH does not have.
home=${HOME:-/nonexistent}
for name in python3.13 python3.12 python3.14 python3.11; do
    for directory in "${PYENV_ROOT:-$home/.pyenv}"/versions/*/bin "$home"/.local/share/uv/python/cpython-*/bin \
        "$home"/.asdf/installs/python/*/bin /usr/local/bin /opt/homebrew/bin /opt/python*/bin; do
        [ -x "$directory/$name" ] && try "$directory/$name"
    done
done

case $wanted in
    any) what="No suitable Python found. The project needs CPython 3.11, 3.12, 3.13 or 3.14 with its venv module." ;;
    3.11) what="No Python 3.11 found." ;;
    *) what="No Python 3.12 or later found." ;;
esac
{
    echo "$what"
    [ -z "$rejected" ] || echo "Rejected:$rejected"
    [ "$wanted" != any ] || {
        echo "On Debian 12 or later and Ubuntu 24.04 or later: sudo apt install python3 python3-venv"
        echo "On Ubuntu 22.04: sudo apt install python3.11 python3.11-venv.  On a Mac: brew install python@3.13"
        echo "If you have one elsewhere: make PYTHON=/path/to/python3 ..."
    }
} >&2
exit 1
