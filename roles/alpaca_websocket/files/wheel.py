# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's wheel, on the controller.

    wheel.py CACHE FOLDER|FILE|URL [SHA256]

Builds it from the service's folder, takes a file, or fetches an address; prints path, version and SHA-256 as JSON. The
same sources make the same wheel, byte by byte, so that a second run finds nothing new.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

# The earliest time that a zip can hold.
_TIME = "315532800"
_TIMEOUT = 60


def build(source: Path, directory: Path) -> Path:
    """Build the wheel into the directory."""
    try:
        from flit_core import buildapi
    except ImportError:
        raise SystemExit(
            f"flit-core is needed to build {source}, and {sys.executable} does not have it. Install requirements/, or "
            "give a wheel: alpaca_websocket_wheel."
        ) from None
    os.environ["SOURCE_DATE_EPOCH"] = _TIME
    os.chdir(source)
    return directory / str(buildapi.build_wheel(str(directory)))


def download(url: str, directory: Path) -> Path:
    path = directory / url.partition("?")[0].rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - main() takes http(s) only
            path.write_bytes(answer.read())
    except OSError as error:
        raise SystemExit(f"{url} cannot be fetched: {error}. Nothing was changed.") from None
    return path


def describe(wheel: Path, expected: str) -> dict[str, str]:
    """What a wheel is; its version stands in its name."""
    parts = wheel.name.removesuffix(".whl").split("-")
    if wheel.suffix != ".whl" or parts[0] != "algo_alpaca_websocket" or len(parts) < 5:
        raise SystemExit(f"{wheel} is no wheel of the market-data server: algo_alpaca_websocket-VERSION-….whl.")
    if not wheel.is_file():
        raise SystemExit(f"There is no {wheel}. Without alpaca_websocket_wheel it is built from the checkout.")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if expected and digest != expected:
        raise SystemExit(
            f"{wheel.name} has the SHA-256 {digest}, and alpaca_websocket_wheel_sha256 is {expected}. "
            "Nothing was changed."
        )
    return {"path": str(wheel), "version": parts[1], "sha256": digest}


def main(arguments: list[str]) -> None:
    cache, given, expected = Path(arguments[0]).absolute(), arguments[1], arguments[2] if len(arguments) > 2 else ""
    if not given.startswith(("http://", "https://")) and not Path(given).is_dir():
        print(json.dumps(describe(Path(given).absolute(), expected)))
        return
    if "://" in given and not expected:
        raise SystemExit(f"{given} needs alpaca_websocket_wheel_sha256, so that nothing else is installed.")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        made = download(given, Path(work)) if "://" in given else build(Path(given).absolute(), Path(work))
        found = describe(made, expected)
        kept = cache / found["sha256"][:12] / made.name
        kept.parent.mkdir(exist_ok=True)
        made.replace(kept)
    print(json.dumps({**found, "path": str(kept)}))


if __name__ == "__main__":
    main(sys.argv[1:])
