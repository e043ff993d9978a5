# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secret, from Secrets Manager with the instance's role into a file that only root can read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from .settings import SECRET, WAITING, HostError, Secret, Settings


def fetch(settings: Settings, path: Path = SECRET) -> bool:
    """Returns whether it is new. One that cannot be read leaves the file as it is: yesterday's is better than none.

    :raises HostError: with the reason, never with the content
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        client: Any = boto3.client("secretsmanager", region_name=settings.region, config=patience)
        text = str(client.get_secret_value(SecretId=settings.secret)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        kept = "; the one that is there is kept" if path.exists() else ""
        raise HostError(f"the secret {settings.secret} cannot be read: {error}{kept}", WAITING) from None
    Secret.parse(text, settings.secret)
    return _replace(path, text)


def _replace(path: Path, text: str) -> bool:
    """Write the file at once or not at all."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp: for its owner only
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True
