# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an open connection says nothing although it should: judged by channel, within sessions, and by experience.

A flat time-out is wrong both ways: a thin symbol may not trade for minutes, and a busy feed that stops for one is dead.
So a channel is only judged while the exchange is open; while other channels speak, it gets several times its limit; a
pause that turned out to be an honest one raises the limit for the rest of the session; and when a new connection is as
silent as the old one was, the limit doubles instead of a reconnection each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..protocol import KINDS
from .calendar import Session

_SECOND = 1_000_000_000
_MARGIN = 2  # times the longest honest pause
_ALONE = 5  # times the limit for one channel that is silent while others speak: the socket lives
_HIGHEST = 16  # times the limit in the settings, whatever was learned


class Verdict(NamedTuple):
    channel: str
    seconds: float  # how long it has been silent
    limit: float


class Silence:
    """
    :param limits: channel → seconds, from the settings
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits
        self._factor: dict[str, float] = {}
        self._last: dict[str, int] = {}
        self._session: Session | None = None

    def limit(self, channel: str) -> float:
        """Seconds that this channel may be silent now."""
        return self._limits[channel] * self._factor.get(channel, 1.0)

    def judge(
        self, now_ns: int, session: Session | None, since: Mapping[str, int], last: Mapping[str, int]
    ) -> Verdict | None:
        """The channel that is silent for too long, if one is. Call it every second or so.

        :param session: the one that now lies in
        :param since: channel → since when what it has now is subscribed on this connection
        :param last: kind → when its last message came
        """
        if session != self._session:
            self._session, self._factor, self._last = session, {}, {}
        if session is None:
            return None
        quiet = {}
        for channel, subscribed_ns in since.items():
            if channel not in self._limits:
                continue
            heard, before = last.get(KINDS[channel], 0), self._last.get(channel, 0)
            begin = max(session.opens, subscribed_ns)
            if heard > before:
                if before >= begin:
                    self._learn(channel, (heard - before) / _SECOND)
                self._last[channel] = heard
            quiet[channel] = (now_ns - max(heard, begin)) / _SECOND
        late = [channel for channel, seconds in quiet.items() if seconds > self.limit(channel)]
        patience = 1 if len(late) == len(quiet) else _ALONE
        for channel in late:
            if quiet[channel] > patience * self.limit(channel):
                return Verdict(channel, quiet[channel], patience * self.limit(channel))
        return None

    def reconnected(self, verdict: Verdict) -> None:
        """A new connection was made because of this verdict: if it is as silent, wait longer the next time."""
        self._raise(verdict.channel, 2 * self._factor.get(verdict.channel, 1.0))

    def _learn(self, channel: str, pause: float) -> None:
        self._raise(channel, _MARGIN * pause / self._limits[channel])

    def _raise(self, channel: str, factor: float) -> None:
        self._factor[channel] = min(_HIGHEST, max(factor, self._factor.get(channel, 1.0)))
