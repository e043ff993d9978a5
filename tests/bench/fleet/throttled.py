# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The throttled table: a fleet against AWS's published limits, in seconds of a clock that does not wait."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration" / "fleet")]

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from contestants import models
from ec2_standin import LIMITS, StandIn, VirtualClock


def floor_seconds(count: int) -> float:
    bucket, refill = LIMITS["CreateTags"]
    return max(0.0, (count - bucket) / refill)


def measure(endpoint: str, settings: dict[str, Any], count: int, how: str) -> dict[str, Any]:
    clock = VirtualClock()
    factor = 0 if how == "unpaced" else 1
    given = settings | {
        "environment": f"throttled-{how}-{count}",
        "rate_limits": {"factor": factor},
        "wait_timeout": 9999,
    }
    over = threading.Event()
    with StandIn(endpoint, clock, enforce=True, latency=0.2).serve() as standin:

        def eat() -> None:
            standin.other_client("CreateTags", LIMITS["CreateTags"][0] / 2)
            while not over.is_set():
                clock.sleep(1.0)
                standin.other_client("CreateTags", LIMITS["CreateTags"][1] / 2)

        if how == "shared":
            threading.Thread(target=eat, daemon=True).start()
        client = standin.client()
        begin = clock.monotonic()
        result = reconcile(FleetSettings.from_dict(given), models(count, changed=False), client, clock=clock)
        seconds = clock.monotonic() - begin
        over.set()
        calls, refused = dict(standin.calls), sum(standin.refused.values())
        reconcile(FleetSettings.from_dict(given | {"state": "absent"}), [], client, clock=clock)
    clock.close()
    floor = floor_seconds(count)
    return {
        "models": count,
        "how": how,
        "seconds": round(seconds, 1),
        "floor": floor,
        "ratio": round(seconds / floor, 3) if floor else None,
        "refused": refused,
        "calls": calls,
        "failed": result.message,
    }


def main() -> None:
    given = json.loads(sys.stdin.read())
    rows = [measure(given["endpoint"], given["settings"], count, how) for count, how in given["cases"]]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
