"""Connects as a client and prints the symbol of the first trade that it gets."""

from __future__ import annotations

import asyncio

from alpaca_websocket.client import follow


async def main() -> None:
    async for item in follow("ws://127.0.0.1:8765/v2/iex", "AWMOLECULE", "molecule-client-secret", trades=["AAPL"]):
        print(item["S"])
        return


asyncio.run(asyncio.wait_for(main(), 300))
