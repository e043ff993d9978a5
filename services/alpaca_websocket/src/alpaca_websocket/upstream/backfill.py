# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the bars and trades that a gap swallowed, from the market-data API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from ..observe.state import Gap
from ..protocol import Message, mark_backfilled, rfc3339
from ..settings import Backfill, Credentials
from .policy import Act, Backoff
from .recent import Key, key

_log = logging.getLogger(__name__)
_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
# Clocks of the exchange, of Alpaca and ours differ by less than this.
_OVERLAP = 2 * _SECOND
_SYMBOLS = 100  # in one request
_PAGE = 10_000
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_encode = msgspec.json.Encoder().encode


class BackfillError(Exception):
    """The API refused, or could not be reached however often it was tried."""


async def fetch(
    gap: Gap,
    symbols: Mapping[str, Collection[str]],
    seen: set[Key],
    settings: Backfill,
    credentials: Credentials,
    emit: Callable[[Sequence[Message]], None],
) -> None:
    """Hands the missing messages to `emit`, page by page, marked as backfilled, and counts them in `gap`.

    :param symbols: "bars" and "trades" → symbols
    :param seen: what came by stream around the gap; what is emitted is added to it, so that a second try emits the rest
    Raises BackfillError.
    """
    begin = max(gap.began_ns, gap.ended_ns - int(settings.longest_seconds * _SECOND))
    # A bar is published when its minute is over, and belongs to the time of its beginning.
    spans = {
        "bars": ((begin - _OVERLAP - _MINUTE) // _MINUTE * _MINUTE, gap.ended_ns - _MINUTE),
        "trades": (begin - _OVERLAP, gap.ended_ns),
    }
    headers = {"APCA-API-KEY-ID": credentials.key_id, "APCA-API-SECRET-KEY": credentials.secret_key}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        for channel, (start, end) in spans.items():
            chosen = sorted(symbols.get(channel, ()))
            for first in range(0, len(chosen), _SYMBOLS):
                part = chosen[first : first + _SYMBOLS]
                async for page in _pages(session, channel, part, start, end, settings):
                    _emit_new(channel, page, gap, seen, emit)


def _emit_new(
    channel: str,
    page: dict[str, list[dict[str, Any]]],
    gap: Gap,
    seen: set[Key],
    emit: Callable[[Sequence[Message]], None],
) -> None:
    kind = "b" if channel == "bars" else "t"
    fresh: list[tuple[int, Message]] = []
    for symbol, items in page.items():
        for item in items:
            message = Message(kind, symbol, mark_backfilled(_encode({"T": kind, "S": symbol, **item})))
            same = key(message)
            if same is not None and same not in seen:
                seen.add(same)
                fresh.append((same[2], message))
    if not fresh:
        return
    fresh.sort(key=lambda item: item[0])
    emit([message for _moment, message in fresh])
    if kind == "b":
        gap.bars += len(fresh)
    else:
        gap.trades += len(fresh)


async def _pages(
    session: aiohttp.ClientSession, channel: str, symbols: list[str], start: int, end: int, settings: Backfill
) -> AsyncIterator[dict[str, list[dict[str, Any]]]]:
    query = {
        "symbols": ",".join(symbols),
        "start": rfc3339(start),
        "end": rfc3339(end),
        "feed": settings.feed,
        "limit": str(_PAGE),
        "sort": "asc",
    }
    if channel == "bars":
        query["timeframe"] = "1Min"
    while True:
        answer = await _get(session, f"{settings.url.rstrip('/')}/v2/stocks/{channel}", query, settings.attempts)
        page = answer.get(channel)
        if isinstance(page, dict):
            yield {symbol: items for symbol, items in page.items() if isinstance(items, list)}
        if not (token := answer.get("next_page_token")):
            return
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
