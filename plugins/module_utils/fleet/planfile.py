# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saved plans: written by check mode, reviewed, and applied later only if nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .desired import digest
from .errors import PlanMovedError, SettingsError
from .placement import spec_key
from .plan import LEAVE, Line, Plan
from .settings import FleetSettings

_FORMAT = 1
_SHOWN = 20


@dataclass(frozen=True)
class SavedPlan:
    fleet: Mapping[str, str]
    lines: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, settings: FleetSettings, plan: Plan) -> SavedPlan:
        return cls(settings.identity_tags, tuple(_entry(line) for line in plan.lines if line.action != LEAVE))

    @classmethod
    def load(cls, settings: FleetSettings, path: str) -> SavedPlan:
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            entries = tuple({str(key): str(value) for key, value in line.items()} for line in data["lines"])
            saved = cls(dict(data["fleet"]), entries)
            version, mark = data["format"], data["digest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise SettingsError(f"Cannot read the plan {path}: {exc}. Save one in check mode with save_plan.") from exc
        if version != _FORMAT or mark != saved.digest:
            raise SettingsError(f"The plan {path} was edited or comes from another version. Save a new one.")
        if dict(saved.fleet) != settings.identity_tags:
            raise SettingsError(f"The plan {path} is for another fleet: {dict(saved.fleet)}.")
        return saved

    @property
    def digest(self) -> str:
        return digest([dict(self.fleet), [dict(line) for line in self.lines]])

    def save(self, path: str) -> None:
        data = {
            "format": _FORMAT,
            "fleet": dict(self.fleet),
            "digest": self.digest,
            "lines": [dict(line) for line in self.lines],
        }
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def require(self, plan: Plan) -> None:
        """Refuse a plan that differs from this one, with the difference."""
        now = {_identity(entry): entry for entry in (_entry(line) for line in plan.lines if line.action != LEAVE)}
        then = {_identity(entry): entry for entry in self.lines}
        if now.keys() == then.keys():
            return
        gone = [f"- {_words(then[key])}" for key in sorted(then.keys() - now.keys())]
        new = [f"+ {_words(now[key])}" for key in sorted(now.keys() - then.keys())]
        shown = [*gone, *new]
        more = f"\n… and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        raise PlanMovedError(
            "Refused: the saved plan is out of date. Nothing was changed. "
            "Save a new plan, look at it, and apply that. The difference (- saved, + now):\n"
            + "\n".join(shown[:_SHOWN])
            + more
        )


def _entry(line: Line) -> dict[str, str]:
    wants = digest([spec_key(line.server.spec), line.server.claim_tags]) if line.server else ""
    return {**line.as_dict(), "held": line.held, "wants": wants}


def _identity(entry: Mapping[str, str]) -> tuple[str, ...]:
    """What makes two lines the same. The reason is for people, and may name times."""
    return tuple(entry[key] for key in ("action", "model", "instance_id", "held", "wants"))


def _words(entry: Mapping[str, str]) -> str:
    on = f" {entry['instance_id']}" if entry["instance_id"] else ""
    return f"{entry['action']} {entry['model'] or '(unclaimed)'}{on}: {entry['reason']}"
