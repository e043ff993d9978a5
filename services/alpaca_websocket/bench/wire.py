# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over the wire in a measurement: objects of 150 bytes that carry the moment they were made."""

from __future__ import annotations

import json
import random
import time

SIZE = 150  # bytes of one JSON object
SYMBOLS = [f"S{number:04d}" for number in range(500)]
_STAMP = 19  # digits of CLOCK_MONOTONIC, which all processes of a machine share
_TAIL = _STAMP + 2  # and `"}` after it
SYMBOL_AT = slice(14, 19)
PER_OBJECT = SIZE + 1  # with the comma, or the line's end, after it


def heads() -> list[bytes]:
    """One object of each symbol, in the order they are sent, up to where the stamp goes; every third is a trade."""
    made = []
    order = SYMBOLS.copy()
    random.Random(1).shuffle(order)  # noqa: S311 - repeatable, not secret
    for number, symbol in enumerate(order):
        kind = "t" if number % 3 == 0 else "q"
        fields = {"i": 1234567, "x": "V", "p": 123.45, "s": 100, "c": ["@"], "z": "C"}
        if kind == "q":
            fields = {"bx": "V", "bp": 123.45, "bs": 1, "ax": "V", "ap": 123.47, "as": 2, "c": ["R"], "z": "C"}
        item = {"T": kind, "S": symbol, **fields, "t": "2024-07-24T13:30:00Z", "m": ""}
        text = json.dumps(item, separators=(",", ":"))
        padding = SIZE - len(text) - _STAMP
        item["m"] = "0" * padding
        made.append(json.dumps(item, separators=(",", ":"))[:-2].encode())
    assert {len(head) + _TAIL for head in made} == {SIZE}
    return made


def stamp() -> bytes:
    return b'%019d"}' % time.monotonic_ns()


def age_ns(payload: bytes, at: int) -> int:
    """How old the object at this offset is."""
    end = at + SIZE - 2
    return time.monotonic_ns() - int(payload[end - _STAMP : end])


def chosen(client: int, each: int) -> list[str]:
    """The symbols of one client: another choice for each, the same in every run."""
    return random.Random(1000 + client).sample(SYMBOLS, each)  # noqa: S311 - repeatable, not secret
