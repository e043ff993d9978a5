# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m standin [--port 0] [--rate 10] [--symbols AAPL,MSFT | 500] …: prints its addresses as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from .faults import Faults
from .http import Control, Rest
from .market import SYMBOLS, Market
from .stream import Stream
from .trading import Trading


@dataclass(frozen=True)
class Options:
    """Everything that the command line can set."""

    port: int = 0
    host: str = "127.0.0.1"
    rate: float = 10.0
    steps: int = 10
    symbols: tuple[str, ...] = SYMBOLS
    key: str = "stand-in"
    secret: str = "not-a-secret"
    connections: int = 1
    symbol_limit: int = 0
    adjusted: bool = False
    hidden: bool = False  # the keys are not printed


def parse(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="standin", description=__doc__)
    parser.add_argument("--host", default=Options.host)
    parser.add_argument("--port", type=int, default=Options.port, help="0: any free one")
    parser.add_argument("--rate", type=float, default=Options.rate, help="steps of the market per second; 0: halted")
    parser.add_argument("--steps", type=int, default=Options.steps, help="steps that make up one minute bar")
    parser.add_argument("--symbols", default=",".join(SYMBOLS), help="names, or how many")
    parser.add_argument("--key", default=Options.key)
    parser.add_argument("--secret", default=Options.secret)
    parser.add_argument("--connections", type=int, default=Options.connections, help="how many at once; more get 406")
    parser.add_argument("--symbol-limit", type=int, default=Options.symbol_limit, help="for each channel; more get 405")
    parser.add_argument("--adjusted", action="store_true", help="prices without the jumps of splits and dividends")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="a file with the keys; they are not shown then")
    found = vars(parser.parse_args(arguments))
    text = found.pop("symbols")
    if text.isdigit():
        names = (*SYMBOLS, *(f"X{number:04d}" for number in range(int(text))))[: int(text)]
    else:
        names = tuple(name for name in text.split(",") if name)
    file = found.pop("keys")
    if file:
        keys = json.loads(file.read_text())
        found |= {"key": keys["key_id"], "secret": keys["secret_key"], "hidden": True}
    return Options(symbols=names, **found)


async def run(options: Options) -> None:
    faults = Faults()
    market = Market(options.symbols, steps=options.steps, adjusted=options.adjusted)
    stream = Stream(faults, options.key, options.secret, connections=options.connections, symbols=options.symbol_limit)
    rest = Rest(market, stream, faults)
    trading = Trading(options.key, options.secret, faults)
    control = Control(market, stream, faults, rest, trading)
    control.rate = options.rate
    app = web.Application()
    app.router.add_get(r"/v2/{feed:iex|sip|delayed_sip|test}", stream.handle)
    app.router.add_get(r"/v1beta1/{feed:boats|overnight|indicative|opra}", stream.handle)
    app.router.add_get(r"/v1beta3/crypto/{feed:us}", stream.handle)
    app.router.add_get(r"/{feed:v2/stocks|v1beta3/crypto/us|v1beta1/options}/{what:bars|trades|quotes}", rest.handle)
    app.router.add_get(r"/{feed:v1beta1}/news", news(stream, rest))
    app.router.add_routes(trading.routes())
    app.router.add_routes(control.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    address = f"{options.host}:{runner.addresses[0][1]}"
    urls = {"stream": f"ws://{address}/v2/iex", "rest": f"http://{address}", "control": f"http://{address}/control"}
    shown = {} if options.hidden else {"key": options.key, "secret": options.secret}
    print(json.dumps({**urls, **shown}), flush=True)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    stepping = asyncio.create_task(_trade(market, stream, control))
    await over.wait()
    stepping.cancel()
    trading.abort()
    await stream.close()
    await runner.cleanup()


def news(stream: Stream, rest: Rest) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The one path that both have."""

    async def handle(request: web.Request) -> web.StreamResponse:
        upgrading = request.headers.get("Upgrade", "").lower() == "websocket"
        return await (stream.handle(request) if upgrading else rest.handle(request))

    return handle


async def _trade(market: Market, stream: Stream, control: Control) -> None:
    """Steps at the rate that was asked for; what the machine can't keep up with is left out."""
    due = time.monotonic()
    while True:
        if control.rate <= 0:
            await asyncio.sleep(0.02)
            due = time.monotonic()
            continue
        await stream.publish(market.step(time.time_ns()))
        control.passed += 1
        due = max(due + 1 / control.rate, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    try:
        asyncio.run(run(parse()))
    except KeyboardInterrupt:
        sys.exit(130)
