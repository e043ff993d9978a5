#!/bin/sh
# Makes sure that a virtual environment is there and is what requirements/ asks for; does nothing if it is.
#
#     venv.sh DIRECTORY SET KIND      DIRECTORY: absolute; SET: any, 3.11 or 3.12 (see find_python.sh)
#
# KIND: runtime; dev, which adds to it; demo-feed, which stands alone and is small.
#
# What was installed is written down last, so an environment whose making was interrupted is made again. It is also made
# again when the pins, the interpreter or the place of the clone have changed: nothing stale stays behind.
set -eu
wanted=$2 kind=$3
cd "$(dirname "$0")/.."
directory=$1
label=$(basename "$directory")
mkdir -p .cache
lock=.cache/$(basename "$directory").pid
pip_of_this="$directory/bin/python -m pip" # as the process table shows it
case $PWD in *[[:space:]]*)
    echo "The path of this clone contains a space, which Python environments do not support: $PWD" >&2
    exit 1
    ;;
esac

export PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.cache/pip}" # nothing outside the clone
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV PIP_REQUIRE_HASHES PYTHONPATH PYTHONHOME || true

# An environment that still works keeps its interpreter; looking for one takes half a second.
stamp=$directory/.algo-python
python=""
if [ -s "$stamp" ] && [ -z "${PYTHON:-}" ] && [ -x "$directory/bin/python" ]; then
    python=$(cat "$stamp")
    [ -x "$python" ] || python=""
fi
[ -n "$python" ] || python=$(tools/find_python.sh "$wanted")
set=$("$python" -I -c 'import sys; print("3.11" if sys.version_info < (3, 12) else "3.12")')

base=runtime purpose="to run the project"
[ "$kind" != demo-feed ] || base=demo-feed purpose="for the demonstration"

pins() { # KIND
    echo "requirements/python$set$([ "$1" = runtime ] || echo "-$1").txt"
}
key() { # KIND: what the environment's content follows from
    printf '%s\n' "$PWD" "$python"
    "$python" -I -c 'import sys; print(sys.version)'
    cat "$(pins "$1")"
}
# cksum is everywhere and good enough to notice a change; what is installed is checked by its sha256.
installed=$(key "$base" | cksum) dev=$(key dev | cksum)
has() { [ "$(cat "$directory/.algo-$1" 2>/dev/null)" = "$2" ]; }

running() { # whether a pip that works on this very environment is alive, whoever left it behind
    pid=$(cat "$lock" 2>/dev/null) && [ -n "$pid" ] && ps -ww -o args= -p "$pid" 2>/dev/null | grep -qF "$pip_of_this"
}

install() { # FILE WHAT
    count=$(grep -c '^[a-z].*==' "$1")
    echo "$label: installing $count packages $2; the large ones:"
    log=$directory/pip.log
    : >"$directory/.algo-installing"
    # What every run imports is compiled below; compiling all of it takes longer than a whole run.
    $pip_of_this install --require-hashes --no-compile --progress-bar off -r "$1" >"$log" 2>&1 &
    pip=$!
    echo "$pip" >"$lock"
    trap 'kill $pip 2>/dev/null; exit 130' INT TERM HUP
    shown=0
    while kill -0 "$pip" 2>/dev/null; do
        sleep 1
        shown=$(progress "$shown")
    done
    trap - INT TERM HUP
    rm -f "$lock"
    if ! wait "$pip"; then
        tail -n 25 "$log" >&2
        echo "$label: the installation failed. Log: $log." >&2
        echo "It needs a package registry; pip's own settings apply (index, certificates, proxy). Then run make again." >&2
        exit 1
    fi
    compile
    rm -f "$directory/.algo-installing"
}

# Without bytecode, each of a run's processes spends a second on parsing these again.
compile() {
    (
        cd "$("$directory/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
        unset PYTHONDONTWRITEBYTECODE
        "$directory/bin/python" -m compileall -q -j 0 ansible ansible_collections/amazon ansible_collections/community/aws \
            boto3 botocore cryptography dateutil jinja2 jmespath s3transfer urllib3 yaml >/dev/null 2>&1 || true # only slower
    )
}

progress() { # LINES-SHOWN: shows what came since then, prints how far it got
    total=$(wc -l <"$log")
    sed -n "$(($1 + 1)),${total}p" "$log" | sed -n -e 's/^ *Downloading \(.*[0-9] MB)\).*/    \1/p' \
        -e 's/^Installing collected packages.*/    unpacking/p' >&2
    echo "$total"
}

if running; then
    echo "$label: another installation is running (process $(cat "$lock")); waiting"
    while running; do sleep 1; done
    sleep 2
fi

if ! has "$base" "$installed" || [ -e "$directory/.algo-installing" ] || { [ -e "$directory/.algo-dev" ] && ! has dev "$dev"; }; then
    began=$(date +%s)
    echo "$label: creating a virtual environment with $("$python" -I --version) ($python)"
    rm -rf "$directory"
    "$python" -I -m venv "$directory"
    printf '%s\n' "$python" >"$stamp"
    install "$(pins "$base")" "$purpose"
    printf '%s\n' "$installed" >"$directory/.algo-$base"
    echo "$label: ready after $(($(date +%s) - began)) s"
fi
if [ "$kind" = dev ] && ! has dev "$dev"; then
    began=$(date +%s)
    install "$(pins dev)" "to check the project"
    printf '%s\n' "$dev" >"$directory/.algo-dev"
    echo "$label: ready after $(($(date +%s) - began)) s"
fi
