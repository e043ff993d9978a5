# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings that cloud-init wrote: /etc/algo-trading/fleet.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Refused

_TYPES: dict[str, tuple[type, ...]] = {
    "region": (str,),
    "feed_url": (str,),
    "model_bucket": (str,),
    "broker_secret": (str,),
    "halt_parameter": (str,),
    "log_group": (str,),
    "broker": (dict,),
    "limits": (dict,),
    "flatten_on_drain": (bool,),
    "drain_seconds": (int,),
    "loop_seconds": (int, float),
}
_LIMITS = ("max_position", "max_order", "max_daily_loss")
# What SSM's command waits for a host beyond its drain, in seconds; the unit is stopped before.
STOP_MARGIN = 30


@dataclass(frozen=True)
class Settings:
    """Everything that the host is told about itself, but for its model."""

    project: str
    environment: str
    component: str
    region: str
    feed_url: str
    model_bucket: str
    broker_secret: str
    halt_parameter: str
    log_group: str
    broker_url: str
    paper: bool
    limits: Mapping[str, float]
    flatten_on_drain: bool
    drain_seconds: int
    loop_seconds: float
    bars: str = "daily"

    @property
    def stop_seconds(self) -> int:
        return self.drain_seconds + STOP_MARGIN


def read_settings(path: Path) -> Settings:
    """
    :raises Refused: naming everything that is missing or wrong
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{path} is missing: cloud-init has not written it. Launch the host by the fleet.") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    return parse_settings(given, str(path))


def parse_settings(given: Any, where: str) -> Settings:
    wrong: list[str] = []
    given = _dict(given)
    names: dict[str, Any] = {name: given.get(name) for name in ("project", "environment", "component")}
    wrong += [name for name, value in names.items() if not (isinstance(value, str) and value)]
    told = _dict(given.get("configuration"))
    wrong += [f"configuration.{name}" for name, types in _TYPES.items() if not _is(told.get(name), types)]
    broker, limits = _dict(told.get("broker")), _dict(told.get("limits"))
    if not (_is(broker.get("url"), (str,)) and str(broker.get("url")).startswith(("https://", "http://"))):
        wrong.append("configuration.broker.url")
    if not isinstance(broker.get("paper"), bool):
        wrong.append("configuration.broker.paper")
    for name in _LIMITS:
        if not (_is(limits.get(name), (int, float)) and limits[name] > 0):
            wrong.append(f"configuration.limits.{name}")
    wrong += [f"configuration.{name}" for name in ("drain_seconds", "loop_seconds") if _below_one(told.get(name))]
    if told.get("bars", "daily") not in ("daily", "minute"):
        wrong.append("configuration.bars")
    if wrong:
        raise Refused(
            f"{where}: missing or wrong: {', '.join(dict.fromkeys(wrong))}. "
            "Correct the settings of aws_trading_server and replace the host."
        )
    if not broker["paper"] and names["environment"] != "prod":
        raise Refused(
            f"{where}: configuration.broker.paper is false in {names['environment']}; only prod may trade money."
        )
    return Settings(
        **names,
        **{name: told[name] for name in _TYPES if name not in ("broker", "limits")},
        bars=told.get("bars", "daily"),
        broker_url=broker["url"],
        paper=broker["paper"],
        limits={name: limits[name] for name in _LIMITS},
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) and value != ""


def _below_one(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value < 1
