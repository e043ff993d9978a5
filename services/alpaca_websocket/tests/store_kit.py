# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the store share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from alpaca_websocket.protocol import Message, Messages
from alpaca_websocket.store import Store, StoreSettings
from alpaca_websocket.store.records import Batch

PATIENCE = 60.0  # seconds; only a failing test waits so long
SYMBOLS = ("AAPL", "MSFT", "FAKEPACA", "BRK.B")
ALL_KINDS = "tqbudslcx"
TIME = "2026-11-20T15:51:44.208123456Z"

SAMPLES = {
    "t": b'{"T":"t","S":"AAPL","i":96921,"x":"D","p":126.55,"s":1,"t":"%b","c":["@","I"],"z":"C"}',
    "q": b'{"T":"q","S":"AAPL","ax":"U","ap":169.8,"as":3,"bx":"Q","bp":169.7,"bs":0.5,"c":["R"],"z":"C","t":"%b"}',
    "b": b'{"T":"b","S":"AAPL","o":132.65,"h":136,"l":132.12,"c":134.65,"v":205,"t":"%b","n":16,"vw":133.7}',
    "u": b'{"T":"u","S":"AAPL","o":132.65,"h":136,"l":132.12,"c":134.65,"v":206,"t":"%b","n":17,"vw":133.7}',
    "d": b'{"T":"d","S":"AAPL","o":132.65,"h":136,"l":132.12,"c":134.65,"v":2e6,"t":"%b","n":9000,"vw":133.7}',
    "s": b'{"T":"s","S":"AAPL","sc":"H","sm":"Halted","rc":"T12","rm":"Info requested","t":"%b","z":"C"}',
    "l": b'{"T":"l","S":"AAPL","u":3.24,"d":2.65,"i":"B","t":"%b","z":"C"}',
    "c": b'{"T":"c","S":"AAPL","x":"M","oi":1,"op":2.5,"os":3,"oc":["@"],'
    b'"ci":4,"cp":5.5,"cs":6,"cc":["T"],"z":"C","t":"%b"}',
    "x": b'{"T":"x","S":"AAPL","i":96921,"x":"D","p":126.55,"s":1,"a":"C","t":"%b","z":"C"}',
}


def sample(kind: str, text: str = TIME) -> Message:
    """A message as Alpaca documents it."""
    return Message(kind, "AAPL", SAMPLES[kind] % text.encode())


def batch(first: int, received_ns: int, messages: list[Message]) -> Batch:
    return Batch(first, received_ns, len(messages), Messages.of(messages).text)


def numbered(number: int) -> Message:
    """A message that says which it is: a trade or, every third, a quote."""
    symbol = SYMBOLS[number % len(SYMBOLS)]
    kind = "q" if number % 3 == 0 else "t"
    size = b"as" if kind == "q" else b"i"
    raw = b'{"T":"%b","S":"%b","%b":%d,"t":"%b"}' % (kind.encode(), symbol.encode(), size, number, TIME.encode())
    return Message(kind, symbol, raw)


def fill(store: Store, first: int, count: int, size: int = 7) -> list[Message]:
    """Appends numbered messages in batches."""
    sent = [numbered(number) for number in range(first, first + count)]
    for at in range(0, count, size):
        store.append(Messages.of(sent[at : at + size]), time.time_ns())
    return sent


def stored(store: Store, kinds: str = ALL_KINDS, **options: Any) -> list[Message]:
    return [item.message for item in store.replay(kinds, **options)]


def settings(directory: Path, **changes: Any) -> StoreSettings:
    """Small and quick."""
    return StoreSettings(
        **{
            "directory": str(directory),
            "commit_milliseconds": 1.0,
            "min_free_bytes": 0,
            "retry_seconds": 0.05,
            "retry_max_seconds": 0.2,
            "s3_timeout_seconds": 5.0,
            "close_seconds": PATIENCE,
            "region": "eu-west-1",
            **changes,
        }
    )


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what or condition}"
        time.sleep(0.01)


def parquet(directory: Path) -> list[Path]:
    return sorted((directory / "parquet").rglob("*.parquet"))


def assert_contiguous(sequences: Iterable[int]) -> None:
    """Nothing missing between, nothing twice, in order."""
    found = list(sequences)
    assert found == list(range(found[0], found[0] + len(found)))
