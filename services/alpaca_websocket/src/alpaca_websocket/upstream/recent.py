# SPDX-License-Identifier: GPL-3.0-or-later
"""What came last: when, of each channel and symbol, and the messages themselves, to tell what is fetched after a gap
from what had come already.

Kept in memory, for each kind that can be fetched: the messages of the last two minutes before its newest one, but at
most 64 MiB of them. So quotes never push trades out, nor does a channel that speaks push out one that is silent. Where
less is kept than a fetch would overlap, the fetch begins later (`start`), instead of bringing twice what came.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from itertools import repeat
from typing import Any

import msgspec

from .. import protocol
from ..protocol import NEWS, TRADE_UPDATES, Message, Messages, Pair, time_ns

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
# Clocks of the exchange, of Alpaca and ours differ by less than this …
CLOCKS_NS = 2 * SECOND
# … and usually, on hosts that keep their time, by less than this.
SKEW_NS = SECOND // 10
_BYTES = 64 * 2**20  # of one kind
_AGE_NS = {"b": 3600 * SECOND}  # bars come once a minute
_OTHER_AGE_NS = 120 * SECOND
_PAIRS = 300_000  # channels and symbols of which the last arrival is known

# What a message is: its kind, symbol, time, and what else tells two of one moment apart.
Key = tuple[str, str, int, Any, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_TIME = b'"t":"'
_QUOTE = ("ax", "ap", "as", "bx", "bp", "bs")


class _Fields(msgspec.Struct, gc=False):
    """What the key of a bar or trade needs."""

    S: str
    t: str
    x: Any = None
    i: Any = None
    p: Any = None
    s: Any = None


_fields = msgspec.json.Decoder(list[_Fields]).decode


def key(message: Message) -> Key | None:
    """What makes a message the same one, whether it came by stream or by REST; None for what REST does not have."""
    if message.kind not in ("b", "t", "q", NEWS, TRADE_UPDATES):
        return None
    try:
        item = _decode(message.raw)
        if message.kind == TRADE_UPDATES:
            return _key_of_fill(item["data"])
        moment = time_ns(item["updated_at" if message.kind == NEWS else "t"])
        if message.kind == NEWS:
            return NEWS, "", moment, item["id"], None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, UnicodeDecodeError):
        return None
    if message.kind == "b":
        return "b", message.symbol, moment, None, None
    if message.kind == "q":
        return "q", message.symbol, moment, tuple(item.get(name) for name in _QUOTE), None
    return "t", message.symbol, moment, item.get("x"), _number(item.get("i"), item.get("p"), item.get("s"))


def _number(number: Any, price: Any, size: Any) -> Any:
    """What tells trades of one moment and exchange apart: their number, or with options, which have none, this."""
    return (price, size) if number is None else number


def _key_of_fill(data: dict[str, Any]) -> Key | None:
    """A fill is known by how much of its order had been filled with it; other events of orders are not in REST."""
    if data["event"] not in ("fill", "partial_fill"):
        return None
    return TRADE_UPDATES, "", 0, data["order"]["id"], float(data["order"]["filled_qty"])


class Text(msgspec.Struct, frozen=True, gc=False):
    """Messages of one kind, joined by commas, and when they came."""

    received_ns: int
    kind: str
    text: bytes


def keys(texts: Iterable[Text]) -> set[Key]:
    """Of all messages in them. Takes a moment: not for the event loop's thread where there are many."""
    found: set[Key] = set()
    for text in texts:
        if text.kind in ("b", "t"):
            try:
                for item in _fields(b"[%b]" % text.text):
                    moment = time_ns(item.t)
                    mark = (None, None) if text.kind == "b" else (item.x, _number(item.i, item.p, item.s))
                    found.add((text.kind, item.S, moment, *mark))
                continue
            except (msgspec.MsgspecError, ValueError, UnicodeDecodeError):
                pass  # one of them is odd: each by itself
        found.update(same for message in _messages(text) if (same := key(message)))
    return found


def raws(texts: Iterable[Text]) -> Counter[bytes]:
    """How often each message came."""
    return Counter(bare(message.raw) for text in texts for message in _messages(text))


def bare(raw: bytes) -> bytes:
    """A message as it was before it was marked as backfilled."""
    return raw.removesuffix(b',"backfilled":true}') + b"}" if raw.endswith(b',"backfilled":true}') else raw


def _messages(text: Text) -> Iterator[Message]:
    yield from protocol.split(b"[%b]" % text.text).data


class _Kind:
    """The last messages of one kind."""

    def __init__(self, age_ns: int, most_bytes: int) -> None:
        self.texts: deque[Text] = deque()
        self.forgotten_ns = 0  # what came up to then is not all known
        self._age_ns, self._most_bytes, self._bytes = age_ns, most_bytes, 0

    def add(self, text: Text) -> None:
        self.texts.append(text)
        self._bytes += len(text.text)
        oldest = text.received_ns - self._age_ns
        while self._bytes > self._most_bytes or self.texts[0].received_ns < oldest:
            gone = self.texts.popleft()
            self._bytes -= len(gone.text)
            self.forgotten_ns = gone.received_ns
            if not self.texts:
                break


class Recent:
    """
    :param kinds: those of which the messages are kept
    :param most_bytes: of each kind
    """

    def __init__(self, kinds: Collection[str], most_bytes: int = _BYTES) -> None:
        self._kinds = {kind: _Kind(_AGE_NS.get(kind, _OTHER_AGE_NS), most_bytes) for kind in kinds}
        self._last: dict[Pair, int] = {}

    def add(self, messages: Messages, now_ns: int) -> None:
        """On the hot path."""
        last = self._last
        last.update(zip(messages.pairs, repeat(now_ns)))
        if len(last) > _PAIRS:
            self._last = dict(sorted(last.items(), key=lambda item: item[1])[_PAIRS // 2 :])
        several = len(messages.kinds) > 1
        for kind in messages.kinds:
            kept = self._kinds.get(kind)
            if kept is not None:
                kept.add(Text(now_ns, kind, _only(messages, kind) if several else messages.text))

    def forget_before(self, moment_ns: int) -> None:
        """What came before is not known, though it came: this process was not there."""
        for kept in self._kinds.values():
            kept.forgotten_ns = max(kept.forgotten_ns, moment_ns)

    def texts(self) -> list[Text]:
        """All messages that are kept."""
        return [text for kept in self._kinds.values() for text in kept.texts]

    def last(self, pair: Pair) -> int:
        """When the last message of this kind and symbol came, or for `*` and for news of this kind; 0: not known."""
        kind, symbol = pair
        if symbol == "*" or kind == NEWS:
            return max((came for (of, _symbol), came in self._last.items() if of == kind), default=0)
        return self._last.get(pair, 0)

    def symbols(self) -> Counter[str]:
        """Those that were seen, and on how many channels."""
        return Counter(symbol for _kind, symbol in self._last)

    def lag_ns(self, kind: str) -> int:
        """How old the last message of a kind was when it came: after a stall, what was read late came earlier."""
        kept = self._kinds.get(kind)
        if kept is None or not kept.texts:
            return 0
        text, received_ns = kept.texts[-1].text, kept.texts[-1].received_ns
        begin = text.rfind(_TIME) + len(_TIME)
        try:
            moment = time_ns(text[begin : text.index(b'"', begin)].decode())
        except ValueError:
            return 0
        return max(0, received_ns - moment - (MINUTE if kind == "b" else 0))

    def start(self, kind: str, last_ns: int, overlap_ns: int) -> int:
        """From which moment on to fetch what was missed after the last message, which came at `last_ns`.

        That is `overlap_ns` before it, as far as is known what came since.
        """
        kept = self._kinds.get(kind)
        known_from = kept.forgotten_ns + CLOCKS_NS if kept is not None and kept.forgotten_ns else 0
        return max(last_ns - overlap_ns, min(known_from, last_ns + SKEW_NS))


def _only(messages: Messages, kind: str) -> bytes:
    return b",".join([raw for (of, _), raw in zip(messages.pairs, messages.raws, strict=True) if of == kind])
