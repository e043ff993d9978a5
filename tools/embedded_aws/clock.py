"""The time that schedules, functions and retries see: the machine's own, until somebody moves it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime


class Clock:
    """A clock that can be set and sped up. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._real, self._shown, self._rate = time.time(), time.time(), 1.0

    def timestamp(self) -> float:
        """Seconds since the epoch, as this clock shows them."""
        with self._changed:
            return self._shown + (time.time() - self._real) * self._rate

    def now(self) -> datetime:
        """The same as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def set(self, timestamp: float | None = None, rate: float | None = None) -> None:
        """Show another time, or run at another pace; what is left out stays."""
        if rate is not None and not 0 <= rate <= 100_000:
            raise ValueError(f"The rate must be 0 (stopped) to 100000, not {rate:g}.")
        with self._changed:
            now = time.time()
            shown = self._shown + (now - self._real) * self._rate
            self._real, self._shown = now, shown if timestamp is None else timestamp
            self._rate = self._rate if rate is None else rate
            self._changed.notify_all()

    def wait(self, longest: float) -> None:
        """Wait for that many real seconds, or until the clock is set."""
        with self._changed:
            self._changed.wait(longest)

    def settings(self) -> dict[str, float]:
        """What a process needs to show the same time: see `apply`."""
        with self._changed:
            return {"real": self._real, "shown": self._shown, "rate": self._rate}


def parse(text: str) -> float:
    """ISO 8601 to a timestamp; without an offset it is UTC.

    :raises ValueError: for anything else.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
