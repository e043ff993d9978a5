# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows the server: through restarts, lost connections and other hosts, with nothing lost and nothing twice.

After a loss the server is asked to replay what it received since a moment from which on all may be missing. To know
such a moment, the follower asks every second where the feed is: whatever comes after the answer was received after the
question. The replay begins a little before it, for clocks differ, and what had come already is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from .. import protocol
from ..protocol import FOLLOWS_TRADES, KINDS, rfc3339
from .seen import Seen

_log = logging.getLogger(__name__)
_NOTHING = 2**63 - 1  # a sequence number that nothing has: the answer to a replay since then is where the feed is
# An account's orders have a protocol of their own, which alpaca-py's TradingStream speaks.
CHANNELS = tuple(name for name in KINDS if name not in (*FOLLOWS_TRADES, "trade_updates"))
_decode = msgspec.json.Decoder(dict[str, Any]).decode
# What asking again does not mend, of the protocol's codes and of the handshake's: no such path.
_FINAL = {400, 401, 402, 403, 405, 409, 410, 413}
_FINAL_STATUS = {400, 401, 403, 404}


class FollowError(Exception):
    """The server refuses: the key, a channel, or a replay. Trying again would not help."""


class _Lost(Exception):
    """This connection is of no more use."""


def follow(
    url: str | Sequence[str],
    key: str,
    secret: str,
    *,
    since: str | int | None = None,
    **channels: Iterable[str],
) -> Follower:
    """Messages of these channels, as dicts in Alpaca's form, for as long as they are iterated over.

        async for item in follow("ws://alpaca-websocket.internal:8765/v2/sip", key, secret, trades=["AAPL"]):
            print(item["S"], item["p"])

    :param url: of the server, or of several that hold the same feed: the next one is tried when one is lost
    :param since: replay from there, RFC 3339 or a sequence number of this server; by default from now on
    :param channels: trades (with their corrections and cancels), quotes, bars, updatedBars, dailyBars, statuses, lulds,
        orderbooks, news → symbols, or `["*"]`
    """
    return Follower(url, key, secret, since=since, channels={name: list(symbols) for name, symbols in channels.items()})


class Follower:
    """See `follow`. Iterating raises FollowError when the server refuses."""

    def __init__(
        self,
        url: str | Sequence[str],
        key: str,
        secret: str,
        *,
        channels: Mapping[str, Sequence[str]],
        since: str | int | None = None,
        mark_seconds: float = 1.0,
        overlap_seconds: float = 2.0,
        patience_seconds: float = 30.0,
        backoff_seconds: tuple[float, float] = (0.1, 5.0),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        :param overlap_seconds: more than the clocks of client and servers differ
        :param patience_seconds: a connection on which nothing comes for so long is given up
        :param backoff_seconds: the first pause after a loss, which doubles, and the longest
        """
        if unknown := channels.keys() - set(CHANNELS):
            raise ValueError(f"unknown channels: {', '.join(sorted(unknown))}; there are {', '.join(CHANNELS)}")
        self._urls = itertools.cycle([url] if isinstance(url, str) else url)
        self._key, self._secret, self._channels = key, secret, {name: list(each) for name, each in channels.items()}
        self._mark_seconds, self._overlap_ns = mark_seconds, round(overlap_seconds * 1e9)
        self._patience, self._backoff, self._tls = patience_seconds, backoff_seconds, tls
        self._seen = Seen()
        self._start: str | int | None = since
        self._mark_ns = time.time_ns()
        self._asked_ns = 0
        self.losses = 0
        """How often a connection was lost or not to be had."""

    @property
    def since(self) -> str:
        """What to give as `since` after a restart of one's own; a few seconds may then come twice."""
        return rfc3339(self._mark_ns - self._overlap_ns)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        pause, longest = self._backoff
        async with aiohttp.ClientSession() as session:
            while True:
                url, began = next(self._urls), time.monotonic()
                try:
                    async with session.ws_connect(url, max_msg_size=0, autoping=True, ssl=self._tls or True) as socket:
                        await self._greet(socket)
                        async with self._marking(socket):
                            async for item in self._stream(socket):
                                yield item
                except (_Lost, aiohttp.ClientError, TimeoutError, OSError) as error:
                    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in _FINAL_STATUS:
                        raise FollowError(f"{url} is refused with HTTP status {error.status}") from error
                    self.losses += 1
                    self._seen.lost()
                    level = logging.WARNING if pause == self._backoff[0] else logging.DEBUG
                    _log.log(level, "%s is lost and tried again: %s", url, error or type(error).__name__)
                if time.monotonic() - began > 10 * longest:
                    pause = self._backoff[0]
                await asyncio.sleep(pause)
                pause = min(longest, 2 * pause)

    # One connection

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self._told(socket, "connected")
        await self._send(socket, action="auth", key=self._key, secret=self._secret)
        await self._told(socket, "authenticated")

    async def _told(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        while True:
            for message in (await self._frame(socket)).control:
                self._check(message)
                if message.get("msg") == text:
                    return

    async def _stream(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
        """What was missed, then what comes."""
        seen, subscribed, discarding = self._seen, False, False
        since: str | int
        since = (
            self._start if self._start is not None else rfc3339(self._mark_ns - self._overlap_ns * (self.losses > 0))
        )
        replaying = await self._ask(socket, since)
        while True:
            frame = await self._frame(socket)
            if frame.data and not discarding:
                fresh = seen.fresh(frame.data, time.time_ns())
                for raw in fresh:
                    yield _decode(raw)
            for message in frame.control:
                self._check(message, live=not replaying)
                if message.get("T") == "subscription":
                    if discarding and subscribed:  # and now no more
                        discarding, subscribed = False, False
                        replaying = await self._ask(socket, since)
                    elif discarding:
                        subscribed = True
                        await self._send(socket, action="unsubscribe", **self._channels)
                    else:
                        subscribed = True
                elif message.get("msg") == "replayed" and not discarding:
                    if replaying and not subscribed:
                        # The two requests came apart on the way, and something may have passed between them.
                        discarding, since = True, message["through"]
                        continue
                    if replaying:
                        replaying, self._start = False, None
                        seen.replayed()
                    self._mark_ns, self._asked_ns = self._asked_ns, 0
                    seen.forget(self._mark_ns - 2 * self._overlap_ns)

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse, since: str | int) -> bool:
        """Asks for the past and, while the server holds back what comes now, for the future."""
        self._asked_ns = time.time_ns()
        await self._send(socket, action="replay", since=since, **self._channels)
        await self._send(socket, action="subscribe", backfilled=True, **self._channels)
        return True

    @contextlib.asynccontextmanager
    async def _marking(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
        async def mark() -> None:
            while not socket.closed:
                await asyncio.sleep(self._mark_seconds)
                if not self._asked_ns:
                    self._asked_ns = time.time_ns()
                    with contextlib.suppress(aiohttp.ClientError, OSError):  # who reads will notice
                        await self._send(socket, action="replay", since=_NOTHING)

        self._asked_ns = 1  # the first answer is that to the replay
        marking = asyncio.create_task(mark())
        try:
            yield
        finally:
            marking.cancel()

    async def _frame(self, socket: aiohttp.ClientWebSocketResponse) -> protocol.Frame:
        async with asyncio.timeout(self._patience):
            message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise _Lost(f"closed: {socket.close_code} {message.extra or ''}".rstrip())
        try:
            return protocol.split(message.data.encode())
        except protocol.ProtocolError as error:
            raise _Lost(str(error)) from error

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, **request: Any) -> None:
        await socket.send_str(protocol.encode_request(request).decode())

    def _check(self, message: Mapping[str, Any], *, live: bool = False) -> None:
        if message.get("T") != "error":
            return
        code, text = message.get("code"), f"{message.get('code')} {message.get('msg')}"
        # The upstream has no room for some symbols; the others go on. It may say so while a replay runs, too.
        if code == 405 and (live or "upstream has no room" in text):
            _log.warning("the server reports: %s", text)
        elif code in _FINAL:
            raise FollowError(f"the server refuses: {text}")
        else:
            raise _Lost(text)
