# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ours without Ansible: the engine that the module and the Lambda call."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[4] / "collections"))

import boto3
from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from botocore.config import Config


def main() -> None:
    phase, given = sys.argv[1], json.loads(sys.stdin.read())
    settings = FleetSettings.from_dict(given["settings"] | ({"state": "absent"} if phase == "terminate" else {}))
    config = Config(
        proxies={}, retries={"total_max_attempts": 1}, max_pool_connections=settings.workers + 8, read_timeout=900
    )
    client: Any = boto3.client("ec2", config=config)
    result = reconcile(settings, given["models"], client)
    if result.message:
        sys.exit(result.message)


if __name__ == "__main__":
    main()
