# SPDX-License-Identifier: GPL-3.0-or-later
"""The fills of an account that a gap swallowed, as the trade updates that they would have been.

Alpaca's API knows fills (account activities) and what an order is now. It does not know the other events of an order in
their order, nor what an order was at that time: the updates made here hold the order as it is now, with as much of it
filled as was with that fill.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from .. import trading
from ..protocol import TRADE_UPDATES, Message, mark_backfilled, rfc3339
from .recent import SECOND

_PAGE = 100
_encode = msgspec.json.Encoder().encode

Get = Callable[..., Awaitable[Any]]
"""Address, query and the answer's shape → the answer."""


async def fills(get: Get, url: str, path: str, start: int, end: int) -> AsyncIterator[list[Message]]:
    """Those after `start` and up to `end`, in pages, oldest first, marked as backfilled. Raises KeyError."""
    # In whole seconds, which is all that the API takes.
    times = {"after": rfc3339(start // SECOND * SECOND), "until": rfc3339((end // SECOND + 1) * SECOND)}
    query = {**times, "direction": "asc", "page_size": str(_PAGE)}
    known: dict[str, dict[str, Any]] = {}
    while True:
        page = await get(f"{url}{path}", query, shape=list[dict[str, Any]])
        for number in {str(item["order_id"]) for item in page} - known.keys():
            known[number] = await get(f"{url}/v2/orders/{number}", {})
        yield [_update(item, known[str(item["order_id"])]) for item in page]
        if len(page) < _PAGE:
            return
        query["page_token"] = str(page[-1]["id"])


def _update(activity: dict[str, Any], order: dict[str, Any]) -> Message:
    at = str(activity["transaction_time"])
    data = {
        "event": activity["type"],
        "timestamp": at,
        "price": activity["price"],
        "qty": activity["qty"],
        "order": {**order, "filled_qty": activity["cum_qty"]},
    }
    symbol = order.get("symbol") or ""
    raw = trading.message(_encode({"stream": TRADE_UPDATES, "data": data}), symbol, at)
    return Message(TRADE_UPDATES, symbol, mark_backfilled(raw))
