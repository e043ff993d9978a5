# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the messages of one channel that a gap swallowed, from the market-data API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import msgspec

from ..protocol import KINDS, Message, mark_backfilled, rfc3339
from ..settings import Backfill, Credentials
from .policy import Act, Backoff
from .recent import Key, key

_log = logging.getLogger(__name__)
_SYMBOLS = 100  # in one request
_PAGE = 10_000
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
        for first in range(0, len(ordered), _SYMBOLS):
            part = ordered[first : first + _SYMBOLS]
            symbols = [symbol for _start, symbol in part]
            async for page in _pages(session, channel, symbols, part[0][0], end, history):
                _emit_new(KINDS[channel], page, starts, seen, emit)


def _emit_new(
    kind: str,
    page: Mapping[str, list[dict[str, Any]]],
    starts: Mapping[str, int],
    seen: set[Key],
    emit: Callable[[Sequence[Message]], None],
) -> None:
    fresh: list[tuple[int, Message]] = []
    for symbol, items in page.items():
        for item in items:
            message = Message(kind, symbol, mark_backfilled(_encode({"T": kind, "S": symbol, **item})))
            same = key(message)
            if same is None:
                raise BackfillError(f"an answer holds what is no message of {symbol}: {str(item)[:200]}")
            if same[2] >= starts.get(symbol, 0) and same not in seen:
                seen.add(same)
                fresh.append((same[2], message))
    if fresh:
        fresh.sort(key=lambda item: item[0])
        emit([message for _moment, message in fresh])


async def _pages(
    session: aiohttp.ClientSession, channel: str, symbols: list[str], start: int, end: int, history: History
) -> AsyncIterator[dict[str, list[dict[str, Any]]]]:
    query = {
        "symbols": ",".join(sorted(symbols)),
        "start": rfc3339(start),
        "end": rfc3339(end),
        "limit": str(_PAGE),
        "sort": "asc",
    }
    settings = history.settings
    if settings.feed:
        query["feed"] = settings.feed
    if channel == "bars":
        query["timeframe"] = "1Min"
    url = f"{settings.url.rstrip('/')}{history.path}/{channel}"
    while True:
        answer = await _get(session, url, query, settings.attempts)
        page = answer.get(channel, ())
        if page is not None:  # Alpaca says null for nothing
            if not isinstance(page, dict) or not all(isinstance(items, list) for items in page.values()):
                raise BackfillError(f"{url}: the answer holds no {channel}")
            yield page
        token = answer.get("next_page_token")
        if not token:
            return
        if str(token) == query.get("page_token"):
            raise BackfillError(f"{url}: a page names itself as the next one")
        query["page_token"] = str(token)


async def _get(session: aiohttp.ClientSession, url: str, query: dict[str, str], attempts: int) -> dict[str, Any]:
    backoff = Backoff(1, 60)
    for left in reversed(range(attempts)):
        wait = 0.0
        try:
            async with session.get(url, params=query) as response:
                if response.status == 200:
                    return msgspec.json.decode(await response.read(), type=dict[str, Any])
                problem = f"HTTP {response.status}"
                if response.status not in (408, 429) and response.status < 500:
                    raise BackfillError(f"{url}: {problem} {(await response.text())[:200]}")
                after = response.headers.get("Retry-After", "")
                wait = min(120.0, float(after)) if after.isdecimal() else 0.0
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            problem = f"{type(error).__name__}: {error}"
        if left:
            _log.warning("a fetch after a gap failed and is tried again", extra={"problem": problem, "left": left})
            await asyncio.sleep(max(wait, backoff.after(Act.BACK_OFF)))
    raise BackfillError(f"{url}: {problem}, after {attempts} attempts")
