# SPDX-License-Identifier: GPL-3.0-or-later
"""/health, /metrics, /status.json and the page at /, on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ..protocol import CHANNELS
from .health import health, judge, overall, shown_gap, timestamp
from .metrics import registry
from .samples import Sample, Sampler
from .state import State

SHOWN_SYMBOLS = 60
SHOWN_CLIENTS = 200
_SAMPLERS = web.AppKey("samplers", Mapping[str, Sampler])  # by feed
_REGISTRY = web.AppKey("registry", CollectorRegistry)
_STATIC = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_encode = msgspec.json.Encoder(enc_hook=str).encode


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=_encode(value), status=status, content_type="application/json")


async def _health(request: web.Request) -> web.Response:
    """Of all feeds, or of one: ?feed=iex."""
    samplers = request.app[_SAMPLERS]
    chosen = dict([_one(request)]) if request.query.get("feed") else samplers
    worst, answer = overall({name: sampler.state for name, sampler in chosen.items()})
    return _json(answer, 503 if worst == "failing" else 200)


def _one(request: web.Request) -> tuple[str, Sampler]:
    """The feed that is asked for, or the first one."""
    samplers = request.app[_SAMPLERS]
    name = request.query.get("feed") or next(iter(samplers))
    if name not in samplers:
        raise web.HTTPNotFound(text=f"feed: there is {', '.join(samplers)}")
    return name, samplers[name]


async def _status(request: web.Request) -> web.Response:
    try:
        since = int(request.query.get("since", "0"))
    except ValueError:
        raise web.HTTPBadRequest(text="since: a time in milliseconds is wanted") from None
    name, sampler = _one(request)
    feeds = {each: judge(other.state)[0] for each, other in request.app[_SAMPLERS].items()}
    return _json({**status(sampler.state, sampler, since * 1_000_000), "feed": name, "feeds": feeds})


def _sample(sample: Sample) -> dict[str, Any]:
    return asdict(sample) | {
        "at": sample.at_ns // 1_000_000,
        "received": {CHANNELS.get(kind, kind): rate for kind, rate in sample.received.items()},
    }


def _counted(subscriptions: Mapping[str, Collection[str]]) -> dict[str, int | str]:
    return {channel: "*" if "*" in symbols else len(symbols) for channel, symbols in subscriptions.items() if symbols}


def status(state: State, sampler: Sampler, since_ns: int = 0) -> dict[str, Any]:
    """All that the page shows of one feed. Times are RFC 3339 or ms since the epoch; samples are later."""
    lags = {name: (recorded, recorded.percentiles((0.5, 0.99, 0.999))) for name, recorded in sampler.lags().items()}
    clients = sorted(state.clients.values(), key=lambda client: client.id)
    return {
        "now": state.clock() // 1_000_000,
        "started": timestamp(state.started_ns),
        "version": state.version,
        "upstream": state.upstream_url,
        "health": health(state),
        "received": state.received_total,
        "delivered": state.delivered,
        "malformed": state.malformed,
        "reconnects": sum(state.reconnects.values()),
        "backfilled": sum(state.backfilled.values()),
        "gap_count": state.gap_count,
        "subscriptions": _counted(state.upstream_subscriptions),
        "dropped": state.upstream_dropped,
        "lags": {
            name: {"count": recorded.count} | dict(zip(("p50", "p99", "p999"), (v / 1e6 for v in values), strict=True))
            for name, (recorded, values) in lags.items()
        },
        "seconds": [_sample(sample) for sample in sampler.seconds if sample.at_ns > since_ns],
        "minutes": [_sample(sample) for sample in sampler.minutes if sample.at_ns > since_ns],
        "symbol_count": len(state.symbols),
        "symbols": sampler.symbols(SHOWN_SYMBOLS),
        "clients": [
            asdict(client)
            | {
                "connected": timestamp(client.connected_ns),
                "subscriptions": _counted(client.subscriptions),
            }
            for client in clients[:SHOWN_CLIENTS]
        ],
        "client_count": len(clients),
        "clients_cut": state.clients_cut,
        "gaps": [asdict(gap) | shown_gap(gap) for gap in reversed(state.gaps)],
        "events": [{"at": timestamp(at), "text": text} for at, text in list(state.events)[-40:][::-1]],
        "store": state.store() if state.store else None,
    }


async def _metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(request.app[_REGISTRY]), headers={"Content-Type": content_type})


async def _static(request: web.Request) -> web.Response:
    name, content_type = _STATIC[request.path]
    body = (resources.files(__package__) / "static" / name).read_bytes()
    return web.Response(body=body, content_type=content_type, charset="utf-8")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({name: value for name, value in _HEADERS.items() if name not in response.headers})


async def _sampling(app: web.Application) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(sampler.run()) for sampler in app[_SAMPLERS].values()]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def application(states: Mapping[str, State]) -> web.Application:
    """:param states: by feed"""
    app = web.Application()
    app[_SAMPLERS] = {name: Sampler(state) for name, state in states.items()}
    app[_REGISTRY] = registry(app[_SAMPLERS])
    app.cleanup_ctx.append(_sampling)
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/health", _health)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/status.json", _status)
    for path in _STATIC:
        app.router.add_get(path, _static)
    return app


async def start(states: Mapping[str, State], host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve; returns what to `await runner.cleanup()` in the end, and the port (its own choice for 0).

    :raises OSError: the address can't be bound
    """
    runner = web.AppRunner(application(states), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
