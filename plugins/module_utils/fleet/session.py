# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trading session: when servers must not be stopped, restarted or replaced.

The exchange's calendar is not known here. The caller passes either the times of one session with their offset, or a
daily window in the exchange's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ._reader import Reader

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Session:
    """Either `begin` and `end` (one session), or `opens` and `closes` (every one of `days`)."""

    begin: datetime | None = None
    end: datetime | None = None
    opens: time | None = None
    closes: time | None = None
    zone: str = "America/New_York"
    days: tuple[str, ...] = _DAYS[:5]

    def reason(self, now: datetime) -> str:
        """Why nothing may be interrupted now, or nothing if it may."""
        if self.begin and self.end:
            if self.begin <= now < self.end:
                return f"the trading session is open until {self.end.isoformat()}"
            return ""
        if self.opens and self.closes:
            local = now.astimezone(ZoneInfo(self.zone))
            if _DAYS[local.weekday()] in self.days and self.opens <= local.time().replace(tzinfo=None) < self.closes:
                return f"the trading session is open until {self.closes:%H:%M} {self.zone}"
        return ""

    @classmethod
    def read(cls, reader: Reader) -> Session:
        opens, closes = reader.text("open", required=True), reader.text("close", required=True)
        zone = reader.text("timezone", "America/New_York")
        days = reader.texts("days") or _DAYS[:5]
        reader.done()
        unknown = [day for day in days if day not in _DAYS]
        if unknown:
            reader.problems.append(f"{reader.path}.days must be of {', '.join(_DAYS)}, not {', '.join(unknown)}")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            reader.problems.append(f"{reader.path}.timezone is not a known time zone: {zone!r}")
        try:
            if len(opens) <= 5:
                return cls(opens=time.fromisoformat(opens), closes=time.fromisoformat(closes), zone=zone, days=days)
            begin, end = datetime.fromisoformat(opens), datetime.fromisoformat(closes)
            if begin.tzinfo is None or end.tzinfo is None or end <= begin:
                raise ValueError
            return cls(begin=begin, end=end, zone=zone)
        except ValueError:
            reader.problems.append(
                f"{reader.path}: open and close must both be HH:MM, or both a date and time with offset and in order; "
                f"not {opens!r} and {closes!r}"
            )
            return cls()
