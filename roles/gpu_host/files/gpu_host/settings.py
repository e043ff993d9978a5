# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings that the role wrote: /etc/algo-gpu/settings.json, and cloud-init's environment.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import REFUSED, HostError
from .places import Places, read_json


@dataclass(frozen=True)
class Settings:
    """The defaults hold for a host that boots from an image and was not configured; those of the role are equal."""

    region: str = ""
    checkpoints: str = ""
    user: str = "algo-gpu"
    idle_minutes: int = 60
    idle_gpu_percent: int = 5
    stop_seconds: int = 90
    require_gpu: bool = False
    torch: bool = True


def read_settings(places: Places) -> Settings:
    """
    :raises HostError: naming what is wrong
    """
    given = _given(places.settings)
    types = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    wrong = sorted(name for name, value in given.items() if name not in types or not _is(value, types[name]))
    if wrong:
        raise HostError(
            f"{places.settings}: unknown or of the wrong type: {', '.join(wrong)}. Run the role gpu_host again.",
            REFUSED,
        )
    region = given.get("region") or read_json(places.environment).get("region", "")
    return Settings(**{**given, "region": str(region)})


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _given(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HostError(f"{path} cannot be read: {error}. Run the role gpu_host again.", REFUSED) from error
    if not isinstance(found, dict):
        raise HostError(f"{path} has no settings. Run the role gpu_host again.", REFUSED)
    return found
