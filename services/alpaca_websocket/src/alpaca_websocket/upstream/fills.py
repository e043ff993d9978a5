# SPDX-License-Identifier: GPL-3.0-or-later
"""A gap while it is filled: what of each channel is missing since when, and what has come already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..observe.state import Gap
from ..protocol import KINDS, NEWS, Message, Messages, rfc3339
from .link import Link
from .recent import CLOCKS_NS, Key, Text, keys

_TIME, _NEWS_TIME = b'"t":"', b'"updated_at":"'
_TIME_LENGTH = len("2026-11-23T14:30:00.123456789Z")


class Span:
    """What of one channel is to be fetched."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}  # symbol → when its last message came
        self.starts: dict[str, int] = {}  # symbol → from which moment on to fetch
        self.began_ns = 0  # the last message of the channel, and from which moment on to fetch the whole of it
        self.start = 0
        self.left_out = 0  # symbols

    def add(self, last: Mapping[str, int], starts: Mapping[str, int], began_ns: int, start: int) -> None:
        """Begins where this begins, or where it began already."""
        for symbol in last:
            self.last[symbol] = min(last[symbol], self.last.get(symbol, last[symbol]))
            self.starts[symbol] = min(starts[symbol], self.starts.get(symbol, starts[symbol]))
        self.began_ns = min(began_ns, self.began_ns or began_ns)
        self.start = min(start, self.start or start)


class Fill:
    """One gap while it is filled, with what is known to have come.

    :param kinds: those that are fetched
    """

    def __init__(
        self, gap: Gap, spans: dict[str, Span], texts: Iterable[Text], kinds: frozenset[str], now_ns: int
    ) -> None:
        self.gap, self.spans, self.texts = gap, spans, list(texts)
        self.seen: set[Key] = set()
        self.left = dict(spans)  # what is not answered yet
        self._kinds = kinds.intersection(KINDS[channel] for channel in spans)
        self._until = rfc3339(now_ns + CLOCKS_NS).encode()

    def watch(self, messages: Messages) -> None:
        """What comes meanwhile and is of the gap's time: reported late, or on its way when the feed came back."""
        if self._kinds.isdisjoint(messages.kinds):
            return
        late = [Message(kind, symbol, raw) for (kind, symbol), raw in zip(messages.pairs, messages.raws, strict=True)
                if kind in self._kinds and _time(kind, raw) <= self._until]  # fmt: skip
        self.seen |= keys(Text(0, message.kind, message.raw) for message in late)


def _time(kind: str, raw: bytes) -> bytes:
    mark = _NEWS_TIME if kind == NEWS else _TIME
    begin = raw.find(mark) + len(mark)
    return raw[begin : begin + _TIME_LENGTH]


class Replay:
    """What is asked of the upstream, one channel after the other."""

    def __init__(self, fill: Fill, link: Link) -> None:
        self.fill, self._link = fill, link
        self.known: Counter[bytes] = Counter()
        self.asked = False
        self.begun = False  # what comes is what was missed, and no longer what was on its way when it was asked for

    def ask(self) -> bool:
        """Sends the next request; False where there is none left."""
        self.asked = bool(self.fill.left)
        if self.asked:
            channel, span = next(iter(self.fill.left.items()))
            asked = {"action": "replay", "since": rfc3339(span.start), channel: sorted(span.starts)}
            self._link.send({**asked, "backfilled": True})  # it says where it begins
        return self.asked

    @property
    def channel(self) -> str:
        """The one that is asked for."""
        return next(iter(self.fill.left))

    def answered(self, result: str) -> None:
        channel = self.channel
        del self.fill.left[channel]
        self.fill.gap.channels[channel].result = result
        self.asked = self.begun = False
