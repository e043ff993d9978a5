# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the messages of one channel that a gap swallowed, from the market-data API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import msgspec

from ..protocol import KINDS, NEWS, TRADE_UPDATES, Message, mark_backfilled, rfc3339, valid
from ..settings import Backfill, Credentials
from . import orders
from .policy import Act, Backoff
from .recent import Key, key

_log = logging.getLogger(__name__)
_SYMBOLS = 100  # in one request
_PAGE, _NEWS_PAGE = 10_000, 50
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_encode = msgspec.json.Encoder().encode


class BackfillError(Exception):
    """The API refused, answered something else than was asked, or could not be reached however often it was tried."""


class History(NamedTuple):
    """Where the past of a feed is, and as whom it is asked for."""

    path: str  # of the endpoint
    settings: Backfill
    credentials: Credentials


async def fetch(
    channel: str,
    starts: Mapping[str, int],
    end: int,
    seen: set[Key],
    history: History,
    emit: Callable[[Sequence[Message]], None],
) -> None:
    """Hands the missing messages to `emit`, page by page, marked as backfilled.

    :param starts: symbol → from which moment on (ns since 1970, of the messages' own time)
    :param end: up to which moment
    :param seen: what came by stream around the gap; what is emitted is added to it
    Returns when all of it was answered, to the last page; else raises BackfillError.
    """
    keys = history.credentials
    headers = {"APCA-API-KEY-ID": keys.key_id, "APCA-API-SECRET-KEY": keys.secret_key}
    # Neighbours in time go together: a request begins where its first symbol does.
    ordered = sorted((start, symbol) for symbol, start in starts.items() if start <= end)
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        if channel == TRADE_UPDATES:
            url, start = f"{history.settings.url.rstrip('/')}", min(starts.values(), default=end)
            get = partial(_get, session, attempts=history.settings.attempts)
            try:
                async for fills in orders.fills(get, url, history.path, start, end):
                    _emit_new(fills, {}, seen, emit)
            except KeyError as error:
                raise BackfillError(f"{url}{history.path}: a fill without {error}") from error
            return
        for first in range(0, len(ordered), _SYMBOLS):
            part = ordered[first : first + _SYMBOLS]
            symbols = [symbol for _start, symbol in part]
            async for page in _pages(session, channel, symbols, part[0][0], end, history):
                _emit_new(page, starts, seen, emit)


def _emit_new(
    page: Iterable[Message],
    starts: Mapping[str, int],
    seen: set[Key],
    emit: Callable[[Sequence[Message]], None],
) -> None:
    fresh: list[tuple[int, Message]] = []
    for message in page:
        same = key(message)
        if same is None:
            raise BackfillError(f"an answer holds what is no message of {message.symbol}: {str(message.raw)[:200]}")
        if same[2] >= starts.get(message.symbol, 0) and same not in seen:
            seen.add(same)
            fresh.append((same[2], message))
    if fresh:
        fresh.sort(key=lambda item: item[0])
        emit([message for _moment, message in fresh])


async def _pages(
    session: aiohttp.ClientSession, channel: str, symbols: list[str], start: int, end: int, history: History
) -> AsyncIterator[list[Message]]:
    query = {"start": rfc3339(start), "end": rfc3339(end), "limit": str(_PAGE), "sort": "asc"}
    settings = history.settings
    url = f"{settings.url.rstrip('/')}{history.path}"
    if channel == "news":
        query |= {"limit": str(_NEWS_PAGE), "include_content": "true"}
    else:
        url += f"/{channel}"
    if "*" not in symbols:
        query["symbols"] = ",".join(sorted(symbols))
    if settings.feed:
        query["feed"] = settings.feed
    if channel == "bars":
        query["timeframe"] = "1Min"
    while True:
        answer = await _get(session, url, query, settings.attempts)
        page = answer.get(channel, ())
        if page is not None:  # Alpaca says null for nothing
            try:
                yield _messages(KINDS[channel], page)
            except (AttributeError, KeyError, TypeError) as error:
                raise BackfillError(f"{url}: the answer holds no {channel}") from error
        token = answer.get("next_page_token")
        if not token:
            return
        if str(token) == query.get("page_token"):
            raise BackfillError(f"{url}: a page names itself as the next one")
        query["page_token"] = str(token)


def _messages(kind: str, page: Any) -> list[Message]:
    """A page as the stream would have sent it: by symbol, but news as a list. Raises what an odd answer leads to."""
    if kind == NEWS:
        return [
            Message(kind, ",".join(item["symbols"]), mark_backfilled(_encode({"T": kind, **item}))) for item in page
        ]
    return [
        Message(kind, symbol, mark_backfilled(_encode({"T": kind, "S": symbol, **item})))
        for symbol, items in page.items()
        for item in items
    ]


async def _get(
    session: aiohttp.ClientSession, url: str, query: Mapping[str, str], attempts: int, shape: Any = dict[str, Any]
) -> Any:
    backoff = Backoff(1, 60)
    for left in reversed(range(attempts)):
        wait = 0.0
        try:
            async with session.get(url, params=query) as response:
                if response.status == 200:
                    return msgspec.json.decode(valid(await response.read()), type=shape)
                problem = f"HTTP {response.status}"
                if response.status not in (408, 429) and response.status < 500:
                    raise BackfillError(f"{url}: {problem} {(await response.text(errors='replace'))[:200]}")
                after = response.headers.get("Retry-After", "")
                wait = min(120.0, float(after)) if after.isdecimal() else 0.0
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            problem = f"{type(error).__name__}: {error}"
        if left:
            _log.warning("a fetch after a gap failed and is tried again", extra={"problem": problem, "left": left})
            await asyncio.sleep(max(wait, backoff.after(Act.BACK_OFF)))
    raise BackfillError(f"{url}: {problem}, after {attempts} attempts")
