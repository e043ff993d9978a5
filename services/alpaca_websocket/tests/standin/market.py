# SPDX-License-Identifier: GPL-3.0-or-later
"""A market that replays real daily prices, each day as one minute bar, with trades and quotes along its way.

However fast it runs, a bar bears the time a minute before it is told, as Alpaca's do."""

from __future__ import annotations

import bisect
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SECOND = 1_000_000_000
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
CHANNELS = {
    "t": "trades",
    "q": "quotes",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "s": "statuses",
    "l": "lulds",
    "c": "corrections",
    "x": "cancelErrors",
}
KEPT = 200_000  # messages of each kind that the REST history remembers

# What other feeds than those of stocks have.
CHANNELS_OF = {
    "/v1beta3/crypto/us": {
        "t": "trades",
        "q": "quotes",
        "o": "orderbooks",
        "b": "bars",
        "u": "updatedBars",
        "d": "dailyBars",
    },
    "/v1beta1/indicative": {"t": "trades", "q": "quotes"},
    "/v1beta1/opra": {"t": "trades", "q": "quotes"},
    "/v1beta1/news": {"n": "news"},
}  # fmt: skip
MSGPACK_ONLY = ("/v1beta1/indicative", "/v1beta1/opra")

Item = dict[str, Any]  # one message; `t` is in nanoseconds until it is encoded


@dataclass(frozen=True, slots=True)
class Day:
    open: float
    high: float
    low: float
    close: float
    volume: int

    def at(self, share: float) -> float:
        """The price after this share of the day, on the shortest way open, low, high, close."""
        leg, rest = divmod(min(share, 0.999999) * 3, 1)
        start, end = ((self.open, self.low), (self.low, self.high), (self.high, self.close))[int(leg)]
        return round(start + (end - start) * rest, 2)


def history(symbol: str, *, adjusted: bool = False) -> list[Day]:
    """The real days of one of SYMBOLS, oldest first.

    :param adjusted: for splits and dividends
    """
    from bokeh_sampledata import stocks

    table = getattr(stocks, symbol)
    columns = [table[name] for name in ("open", "high", "low", "close", "volume")]
    days = [Day(o, h, low, c, int(v)) for o, h, low, c, v in zip(*columns, strict=True)]
    if not adjusted:
        return days
    factors = (right / day.close for right, day in zip(table["adj_close"], days, strict=True))
    return [
        Day(
            round(day.open * by, 2),
            round(day.high * by, 2),
            round(day.low * by, 2),
            round(day.close * by, 2),
            day.volume,
        )
        for day, by in zip(days, factors, strict=True)
    ]


@dataclass
class Book:
    """One symbol's place in its history, and what of the running bar has been told."""

    days: Iterator[Day]
    day: Day
    trades: int = 0
    daily: dict[str, float] = field(default_factory=dict)


class Market:
    """Messages of all kinds, made one step after the other. The same seed gives the same prices and trade numbers.

    :param symbols: names of SYMBOLS replay their own history; any other name replays one of theirs from a later day
    :param steps: steps (one trade and two quotes of each symbol) that make up one minute bar
    """

    def __init__(
        self, symbols: tuple[str, ...] = SYMBOLS, *, steps: int = 10, seed: int = 1, adjusted: bool = False
    ) -> None:
        self.steps = steps
        self._random = random.Random(seed)
        self._number = itertools.count(1)
        self._step = 0
        self.past: dict[str, deque[Item]] = defaultdict(lambda: deque(maxlen=KEPT))
        loaded = {name: history(name, adjusted=adjusted) for name in SYMBOLS}
        self._books: dict[str, Book] = {}
        for index, symbol in enumerate(symbols):
            days = loaded.get(symbol) or loaded[SYMBOLS[index % len(SYMBOLS)]]
            start = 0 if symbol in loaded else index * 7 % len(days)
            walk = itertools.islice(itertools.cycle(days), start, None)
            self._books[symbol] = Book(walk, next(walk))

    @property
    def symbols(self) -> list[str]:
        return list(self._books)

    def step(self, now_ns: int) -> list[Item]:
        """What happens next, at `now_ns`; a bar's end comes after `steps` of them."""
        share = (self._step % self.steps) / self.steps
        items: list[Item] = []
        for symbol, book in self._books.items():
            items += self._trading(symbol, book, share, now_ns)
            if self._step % self.steps == self.steps - 1:
                items += self._bar(symbol, book, now_ns)
        self._step += 1
        for item in items:
            self.past[item["T"]].append(item)
        return items

    def _trading(self, symbol: str, book: Book, share: float, now_ns: int) -> list[Item]:
        price = book.day.at(share)
        quote: Item = {
            "T": "q", "S": symbol, "bx": "Q", "bp": round(price - 0.01, 2), "bs": 100, "ax": "V",
            "ap": round(price + 0.01, 2), "as": 200, "c": ["R"], "z": "C", "t": now_ns,
        }  # fmt: skip
        trade: Item = {
            "T": "t", "S": symbol, "i": next(self._number), "x": "V", "p": price,
            "s": max(book.day.volume // self.steps, 1), "c": ["@"], "z": "C", "t": now_ns + 1000,
        }  # fmt: skip
        after = {**quote, "bs": 300, "t": now_ns + 2000}
        book.trades += 1
        items = [quote, trade, after]
        dice = self._random.random()
        if dice < 0.01:
            items.append(
                {"T": "c", "S": symbol, "x": "V", "oi": trade["i"], "op": price, "os": trade["s"], "oc": ["@"],
                 "ci": next(self._number), "cp": price, "cs": trade["s"] + 1, "cc": ["@"], "z": "C", "t": now_ns + 3000}
            )  # fmt: skip
        elif dice < 0.02:
            items.append(
                {"T": "x", "S": symbol, "i": trade["i"], "x": "V", "p": price, "s": trade["s"], "a": "C", "z": "C",
                 "t": now_ns + 3000}
            )  # fmt: skip
        return items

    def _bar(self, symbol: str, book: Book, now_ns: int) -> list[Item]:
        day = book.day
        bar: Item = {
            "T": "b", "S": symbol, "o": day.open, "h": day.high, "l": day.low, "c": day.close, "v": day.volume,
            "n": book.trades, "vw": round((day.high + day.low + day.close) / 3, 4), "t": now_ns - 60 * SECOND,
        }  # fmt: skip
        so_far = book.daily or {"o": day.open, "h": day.high, "l": day.low, "v": 0, "n": 0}
        book.daily = {
            "o": so_far["o"], "h": max(so_far["h"], day.high), "l": min(so_far["l"], day.low), "c": day.close,
            "v": so_far["v"] + day.volume, "n": so_far["n"] + book.trades, "vw": bar["vw"],
        }  # fmt: skip
        items = [bar, {"T": "d", "S": symbol, **book.daily, "t": now_ns // (86400 * SECOND) * 86400 * SECOND}]
        items.append(
            {"T": "l", "S": symbol, "u": round(day.close * 1.1, 2), "d": round(day.close * 0.9, 2), "i": "B", "z": "C",
             "t": now_ns}
        )  # fmt: skip
        if self._random.random() < 0.1:
            items.append({**bar, "T": "u", "n": book.trades + 1, "v": day.volume + 100})
        if self._random.random() < 0.02:
            items.append(
                {"T": "s", "S": symbol, "sc": "T", "sm": "Trading resumed", "rc": "", "rm": "", "t": now_ns, "z": "C"}
            )
        book.day, book.trades = next(book.days), 0
        return items

    def between(self, kind: str, symbols: set[str], start_ns: int, end_ns: int) -> list[Item]:
        """What REST knows: the past of a kind and of symbols, `start` ≤ t ≤ `end`, by symbol and time."""
        past = list(self.past[kind])
        first = 0 if kind != "t" else bisect.bisect_left(past, start_ns, key=lambda item: item["t"])
        found = [i for i in past[first:] if i["S"] in symbols and start_ns <= i["t"] <= end_ns]
        return sorted(found, key=lambda item: (item["S"], item["t"]))
