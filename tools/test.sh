#!/bin/sh
# All checks, on both dependency sets where the interpreters exist: .venv has one, the other gets its own environment.
# HOSTS=auto installs the packages that Linux hosts need, as root of Debian or Ubuntu and after saying so. HOSTS=on does too, and
# tests that need hosts fail where they cannot run, instead of being skipped.
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
case ${HOSTS:-} in
on | auto)
    "$venv/bin/python" tools/embedded_aws packages
    # promtool and Prometheus judge the alert rules. Where systemd runs, the package would start a service: not unasked.
    if ! command -v promtool >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ]; then
        echo "Tests of the alert rules need promtool. Installing: prometheus"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus >/dev/null 2>&1 ||
            echo "prometheus could not be installed."
    fi
    # The pages are looked at in a browser.
    if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "Tests of the pages need a browser. Installing: chromium chromium-driver"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium chromium-driver >/dev/null 2>&1 ||
            echo "chromium could not be installed."
    fi
    ;;
esac
command -v chromedriver >/dev/null ||
    echo "SKIPPED: the tests of the pages in a browser. For them: apt-get install chromium chromium-driver"
command -v promtool >/dev/null ||
    echo "SKIPPED: the tests that let promtool and a real Prometheus judge the alert rules. For them: apt-get install prometheus"
exec "$venv/bin/python" tools/check.py "$@"
