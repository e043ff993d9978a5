# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetches the broker's keys from Secrets Manager into files that only root can read; the unit passes them on.

    fetch_keys.py DIRECTORY FILE=SECRET …

A server that runs has read its keys at its start: when they are new, it is started again, and its successor goes on
from where it stopped. The keys are never printed. A secret that cannot be read leaves its file as it
is: a server with yesterday's keys is better than none. Exit status 1 then, if there is no file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVER = "alpaca-websocket.service"
_SYSTEMCTL = ("/usr/bin/systemctl",)


class KeysError(Exception):
    """The secret cannot be read, or has no keys."""


def fetch(secret: str) -> str:
    """Returns the secret's text.

    :raises KeysError: with the reason, never with the content
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        client: Any = boto3.client("secretsmanager", config=patience)
        text = str(client.get_secret_value(SecretId=secret)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise KeysError(f"the secret {secret} cannot be read: {error}") from None
    try:
        found = json.loads(text)
        complete = isinstance(found, dict) and bool(found.get("key_id")) and bool(found.get("secret_key"))
    except ValueError:
        complete = False
    if not complete:
        raise KeysError(f'the secret {secret} has no keys. Put them in as {{"key_id": …, "secret_key": …}}')
    return json.dumps({"key_id": found["key_id"], "secret_key": found["secret_key"]})


def replace(path: Path, text: str) -> bool:
    """Write the file at once or not at all; returns whether it is new."""
    if path.exists() and path.read_text() == text:
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keys-")
    try:
        with os.fdopen(handle, "w") as file:  # mkstemp: for its owner only
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def main(arguments: list[str]) -> int:
    directory, changed, failed = Path(arguments[0]), False, False
    for pair in arguments[1:]:
        name, _equals, secret = pair.partition("=")
        path = directory / name
        try:
            if replace(path, fetch(secret)):
                print(f"{path} has new keys", flush=True)
                changed = True
        except (KeysError, OSError) as error:
            kept = "; the keys that are there are kept" if path.exists() else ""
            print(f"{error}{kept}", file=sys.stderr)
            failed = failed or not path.exists()
    if changed and not subprocess.run([*_SYSTEMCTL, "--quiet", "is-active", SERVER], check=False).returncode:  # noqa: S603
        subprocess.run([*_SYSTEMCTL, "--no-block", "try-restart", SERVER], check=True)  # noqa: S603
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
