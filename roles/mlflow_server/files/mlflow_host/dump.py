# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the database in a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from .settings import HostError, Secret, Settings


def dump(settings: Settings, secret: Secret, path: Path) -> dict[str, Any]:
    """The whole database as pg_restore takes it, readable for root only. The password is in no argument."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PGPASSWORD": secret.password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": settings.database_ca,
    }
    place = ["--host", settings.database_host, "--port", str(secret.port), "--username", secret.username]
    unfinished = path.with_suffix(".unfinished")
    try:
        with open(unfinished, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            done = subprocess.run(
                ["/usr/bin/pg_dump", "--format=custom", "--no-password", *place, secret.dbname],
                stdout=file, stderr=subprocess.PIPE, env=environment, text=True, check=False,
            )  # fmt: skip
            os.fsync(file.fileno())
        if done.returncode:
            raise HostError(f"the database was not dumped, and nothing was upgraded: {' '.join(done.stderr.split())}")
        unfinished.replace(path)
    except OSError as error:
        raise HostError(f"the database was not dumped to {path}: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return {"file": str(path), "bytes": path.stat().st_size}
