# SPDX-License-Identifier: GPL-3.0-or-later
"""/health, /metrics, /status.json and the page at /, on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from importlib import resources
from typing import Any

import msgspec
from prometheus_client.exposition import choose_encoder

from .. import __version__
from ..protocol import CHANNELS
from .health import health, judge, overall, shown_gap, timestamp
from .metrics import registry
from .samples import Sample, Sampler
from .state import Arrivals, Client, State
from .web import Answer, Problem, Request, Web

SHOWN_SYMBOLS = 60
SHOWN_CLIENTS = 200
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


_SHOWN_OF_A_CLIENT = [each.name for each in fields(Client) if each.name != "subscriptions"]
_LONGEST_NUMBER = 15  # digits of a time in milliseconds


def _json(value: object, status: int = 200) -> Answer:
    return Answer(_encode(value), "application/json", status)


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
            {name: getattr(client, name) for name in _SHOWN_OF_A_CLIENT}
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


class Pages:
    """What is answered where.

    :param states: by feed
    """

    def __init__(self, states: Mapping[str, State], arrivals: Arrivals) -> None:
        self.samplers = {name: Sampler(state) for name, state in states.items()}
        self._arrivals = arrivals
        self._registry = registry(self.samplers, arrivals)

    def answer(self, request: Request) -> Answer:
        match request.path:
            case "/health":
                return self._health(request)
            case "/metrics":
                encode, content_type = choose_encoder(request.headers.get("accept", ""))
                return Answer(encode(self._registry), content_type)
            case "/status.json":
                return self._status(request)
        if request.path not in _STATIC:
            raise Problem(404, "there is /health, /metrics, /status.json and /")
        name, content_type = _STATIC[request.path]
        return Answer((resources.files(__package__) / "static" / name).read_bytes(), f"{content_type}; charset=utf-8")

    def _health(self, request: Request) -> Answer:
        """Of all feeds, or of one: ?feed=iex."""
        chosen = dict([self._one(request)]) if request.query.get("feed") else self.samplers
        worst, answer = overall({name: sampler.state for name, sampler in chosen.items()})
        # Not asdict: it takes a Counter apart.
        arrivals = {each.name: getattr(self._arrivals, each.name) for each in fields(self._arrivals)}
        return _json({"version": __version__, **answer, "arrivals": arrivals}, 503 if worst == "failing" else 200)

    def _status(self, request: Request) -> Answer:
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdecimal() and len(since) <= _LONGEST_NUMBER):
            raise Problem(400, "since: a time in milliseconds is wanted")
        name, sampler = self._one(request)
        feeds = {each: judge(other.state)[0] for each, other in self.samplers.items()}
        return _json({**status(sampler.state, sampler, int(since) * 1_000_000), "feed": name, "feeds": feeds})

    def _one(self, request: Request) -> tuple[str, Sampler]:
        """The feed that is asked for, or the first one."""
        name = request.query.get("feed") or next(iter(self.samplers))
        if name not in self.samplers:
            raise Problem(404, f"feed: there is {', '.join(self.samplers)}")
        return name, self.samplers[name]


class Site:
    """The pages while they are served."""

    def __init__(self, web: Web, sampling: Collection[asyncio.Task[None]]) -> None:
        self._web, self._sampling = web, sampling

    async def cleanup(self) -> None:
        for task in self._sampling:
            task.cancel()
        await asyncio.gather(*self._sampling, return_exceptions=True)
        await self._web.close()


async def start(
    states: Mapping[str, State], host: str, port: int, *, token: str = "", arrivals: Arrivals | None = None
) -> tuple[Site, int]:
    """Serve; returns what to `await site.cleanup()` in the end, and the port (its own choice for 0).

    :param token: without it nothing is answered; empty: anybody is
    :raises OSError: the address can't be bound
    """
    pages = Pages(states, arrivals or Arrivals())
    web = Web(pages.answer, _HEADERS, token)
    bound = await web.start(host, port)
    sampling = [asyncio.create_task(sampler.run()) for sampler in pages.samplers.values()]
    return Site(web, sampling), bound
