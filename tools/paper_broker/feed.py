"""Prices that follow a market-data stream."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp

from .api import Broker


async def follow(url: str, keys: dict[str, Any], broker: Broker) -> None:
    """Connects again whenever the stream ends."""
    while True:
        try:
            await _listen(url, keys, broker)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            print(f"paper_broker: the feed at {url} failed: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(1)


async def _listen(url: str, keys: dict[str, Any], broker: Broker) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, heartbeat=10) as socket:
        await socket.send_json({"action": "auth", "key": keys.get("key_id"), "secret": keys.get("secret_key")})
        await socket.send_json({"action": "subscribe", "trades": ["*"], "bars": ["*"]})
        async for frame in socket:
            for item in json.loads(frame.data):
                match item.get("T"):
                    case "t":
                        broker.price({"symbol": item["S"], "price": item["p"]})
                    case "b":
                        broker.price({"symbol": item["S"], "price": item["c"]})
                    case "error":
                        raise ValueError(f"{item.get('code')} {item.get('msg')}")
