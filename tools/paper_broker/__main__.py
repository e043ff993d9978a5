"""A stand-in for Alpaca's trading API, with faults on request. Prints its addresses as a line of JSON.

    python tools/paper_broker --price AAPL=100 --price MSFT=40
    python tools/paper_broker --feed ws://127.0.0.1:8765/v2/iex --feed-keys FILE      prices follow the feed

alpaca-py's TradingClient (url_override=<rest>) and TradingStream (url_override=<stream>) work with it as they are.
Faults: POST <control>/<name> with a JSON object; paper_broker/api.py lists them. State: GET <control>/state.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]
# The exchange's calendar is the collection's; the protocol of trade_updates that of the market-data server's stand-in.
sys.path += [str(TOOLS.parent / "collections"), str(TOOLS.parent / "services" / "alpaca_websocket" / "tests")]
if not __package__:  # run by the folder's path: its parent is where the package is found
    sys.path[0] = str(TOOLS)

from aiohttp import web

from paper_broker.api import Broker
from paper_broker.feed import follow


async def run(options: argparse.Namespace) -> None:
    keys = json.loads(options.keys.read_text()) if options.keys else {}
    key, secret = keys.get("key_id", options.key), keys.get("secret_key", options.secret)
    broker = Broker(key, secret, options.market == "always", options.state)
    broker.restore()
    for symbol, price in options.price:
        broker.price({"symbol": symbol, "price": price})
    runner = web.AppRunner(broker.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    address = f"{options.host}:{runner.addresses[0][1]}"
    urls = {"rest": f"http://{address}", "stream": f"ws://{address}/stream", "control": f"http://{address}/control"}
    # Keys of a file are not shown.
    print(json.dumps(urls if options.keys else {**urls, "key": key, "secret": secret}), flush=True)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    following = None
    if options.feed:
        feed_keys = json.loads(options.feed_keys.read_text()) if options.feed_keys else {}
        following = asyncio.create_task(follow(options.feed, feed_keys, broker))
    await over.wait()
    if following:
        following.cancel()
    broker.stream.abort()
    await runner.cleanup()


def _price(given: str) -> tuple[str, str]:
    symbol, equals, price = given.partition("=")
    if not (symbol and equals and price):
        raise argparse.ArgumentTypeError(f"{given!r} is not SYMBOL=PRICE")
    return symbol, price


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="paper_broker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--key", default="stand-in")
    parser.add_argument("--secret", default="not-a-secret")
    parser.add_argument("--keys", type=Path, metavar="FILE", help='instead: {"key_id": …, "secret_key": …}')
    parser.add_argument("--state", type=Path, metavar="FILE", help="keeps the account through a restart")
    parser.add_argument("--market", choices=("always", "exchange"), default="always", help="when it is open")
    parser.add_argument("--price", type=_price, action="append", default=[], metavar="SYMBOL=PRICE")
    parser.add_argument("--feed", metavar="URL", help="market-data stream; the last trade or bar is the price")
    parser.add_argument("--feed-keys", type=Path, metavar="FILE", help='its keys: {"key_id": …, "secret_key": …}')
    asyncio.run(run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
