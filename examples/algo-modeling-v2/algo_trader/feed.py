# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows one symbol's bars in a thread, by Alpaca's stream protocol; asks our server for what was missed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from .config import Keys

KEPT = 400  # closes; the longest average has 200
_PAUSE = 1.0
_QUIET = 1.0


class FeedError(Exception):
    """The stream refused us, or said what we don't understand."""


class Feed:
    """`closes` are those of finished bars, by the time of the bar."""

    def __init__(self, url: str, keys: Keys, symbol: str, bars: str, closes: Mapping[str, float]) -> None:
        self._url, self._keys, self._symbol, self._daily = url, keys, symbol, bars == "daily"
        self._lock = threading.Lock()
        self._closes = dict(closes)
        self._price = 0.0
        self._priced = datetime.fromtimestamp(0, UTC)
        self._received: float | None = None  # time.monotonic() of the newest bar
        self._over = threading.Event()
        self.ready = threading.Event()  # connected, and what was missed is here
        self.error = "not connected yet"
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def closes(self) -> dict[str, float]:
        """Oldest first. The newest daily bar is of a day that goes on, until there is a newer one."""
        with self._lock:
            items = sorted(self._closes.items())
        return dict(items[:-1] if self._daily else items)

    def kept(self) -> dict[str, float]:
        with self._lock:
            return dict(sorted(self._closes.items()))

    def price(self) -> tuple[float, float]:
        """The last price, and the age in seconds of the minute bar that it closes."""
        with self._lock:
            return self._price, (datetime.now(UTC) - self._priced).total_seconds()

    def lag(self) -> float | None:
        """Seconds since the newest bar came; none before the first."""
        with self._lock:
            return None if self._received is None else time.monotonic() - self._received

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow()
            except (OSError, WebSocketException, FeedError, ValueError, KeyError, TypeError) as error:
                self.error = f"{type(error).__name__}: {error}"
            self.ready.clear()
            self._over.wait(_PAUSE)

    def _follow(self) -> None:
        with connect(self._url, open_timeout=10, close_timeout=1) as socket:
            key, secret = self._keys.feed
            socket.send(json.dumps({"action": "auth", "key": key, "secret": secret}))
            self._until(socket, "authenticated")
            channels = ["bars", "dailyBars"] if self._daily else ["bars"]
            socket.send(json.dumps({"action": "subscribe", **{name: [self._symbol] for name in channels}}))
            self._until(socket, "subscription")
            # Alpaca itself answers this with an error; then the model waits until it has seen enough bars.
            asked = {"action": "replay", "since": self._since(), **{name: [self._symbol] for name in channels}}
            socket.send(json.dumps(asked))
            self._until(socket, "replayed", "error")
            self.error = ""
            self.ready.set()
            while not self._over.is_set():
                self._receive(socket)

    def _since(self) -> str:
        with self._lock:
            latest = max(self._closes, default="")
        if latest:
            return latest
        return (datetime.now(UTC) - timedelta(days=KEPT * 2 if self._daily else 1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _until(self, socket: ClientConnection, *wanted: str) -> None:
        deadline = time.monotonic() + 60
        while not self._over.is_set():
            if time.monotonic() > deadline:
                raise FeedError(f"no {wanted[0]!r} from {self._url} within a minute")
            for item in self._receive(socket):
                if item["T"] in wanted or (item["T"] == "success" and item.get("msg") in wanted):
                    return
                if item["T"] == "error":
                    raise FeedError(f"the stream answered {item.get('code')} {item.get('msg')}")

    def _receive(self, socket: ClientConnection) -> list[dict[str, Any]]:
        try:
            items: list[dict[str, Any]] = json.loads(socket.recv(timeout=_QUIET))
        except TimeoutError:
            return []
        for item in items:
            if item["T"] in ("b", "d") and item["S"] == self._symbol:
                self._bar(item["T"] == "d", str(item["t"]), float(item["c"]))
        return items

    def _bar(self, daily: bool, at: str, close: float) -> None:
        if not close > 0:
            return
        began = datetime.fromisoformat(at)
        with self._lock:
            self._received = time.monotonic()
            if not daily and began >= self._priced:
                self._price, self._priced = close, began
            if daily == self._daily:
                self._closes[at] = close
                for old in sorted(self._closes)[:-KEPT]:
                    del self._closes[old]
