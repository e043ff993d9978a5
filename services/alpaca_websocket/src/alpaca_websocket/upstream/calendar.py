# SPDX-License-Identifier: GPL-3.0-or-later
"""When the exchange is open.

    python -m alpaca_websocket.upstream.calendar XNYS

prints the sessions around today as JSON. The server asks in a process of its own: exchange_calendars and pandas take
seconds to load and a hundred megabytes, and all that is needed of them is a list of times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_right
from typing import NamedTuple

ALWAYS = "24/7"
# Blue Ocean ATS trades in the night before each day of the New York exchange, from 20:00 to 04:00 of its clock.
OVERNIGHT, _ITS_DAYS, _ITS_ZONE = "overnight", "XNYS", "America/New_York"
_ITS_OPENING, _ITS_CLOSING = -4, 4  # hours from midnight
_DAYS_BEFORE = 10
_PATIENCE = 60.0  # seconds; clients wait for the server meanwhile


class CalendarError(Exception):
    """The calendar's name is unknown, or its process failed or did not answer in time."""


class Session(NamedTuple):
    """One trading session, UTC nanoseconds."""

    opens: int
    closes: int


class Calendar:
    """The sessions of one exchange."""

    def __init__(self, sessions: list[Session]) -> None:
        self._sessions = sorted(sessions)
        self._opens = [session.opens for session in self._sessions]

    def at(self, now_ns: int) -> Session | None:
        """The session that this moment lies in."""
        index = bisect_right(self._opens, now_ns) - 1
        if index < 0 or now_ns >= self._sessions[index].closes:
            return None
        return self._sessions[index]


async def load(name: str) -> Calendar:
    """Raises CalendarError."""
    if name == ALWAYS:
        return Calendar([Session(0, sys.maxsize)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", __file__, name, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, problem = await asyncio.wait_for(process.communicate(), _PATIENCE)
    except TimeoutError:
        raise CalendarError(f"the calendar {name} was not read within {_PATIENCE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        last = problem.decode(errors="replace").strip().splitlines()
        raise CalendarError(f"the calendar {name} cannot be read: {last[-1] if last else process.returncode}")
    return Calendar([Session(opens, closes) for opens, closes in json.loads(out)])


def main() -> None:
    import exchange_calendars
    import pandas as pd

    start = pd.Timestamp(time.time(), unit="s").normalize() - pd.Timedelta(days=_DAYS_BEFORE)
    name = sys.argv[1]
    calendar = exchange_calendars.get_calendar(_ITS_DAYS if name == OVERNIGHT else name, start=start)
    opens, closes = calendar.opens, calendar.closes
    if name == OVERNIGHT:
        opens, closes = (
            (calendar.sessions + pd.Timedelta(hours=hours)).tz_localize(_ITS_ZONE)
            for hours in (_ITS_OPENING, _ITS_CLOSING)
        )
    times = zip(opens, closes, strict=True)
    # Whatever resolution pandas keeps them in.
    print(json.dumps([[int(moment.timestamp()) * 10**9 for moment in pair] for pair in times]))


if __name__ == "__main__":
    main()
