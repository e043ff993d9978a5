# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's streams, one entry for each: its path, its channels, and what follows from them.

The path of an upstream's address and the path that a client asks for are looked up here. Whatever differs between the
feeds stands in this table and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

_STOCKS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")
_CRYPTO = ("trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars")
_BUSY = {"trades": 60.0, "quotes": 60.0, "bars": 150.0, "dailyBars": 300.0}
_DATA = "stream.data"  # the host of market data streams begins so; that of their REST history with "data"


class Endpoint(NamedTuple):
    """One of Alpaca's streams. An account has one connection for each."""

    name: str
    path: str
    channels: tuple[str, ...]
    calendar: str = "XNYS"
    """When its market is open, see upstream/calendar.py."""
    silence: Mapping[str, float] = {}
    """Seconds that a channel may say nothing while the market is open; channels that are not named are not judged."""
    history: str = ""
    """Path of the REST history; empty where there is none."""
    history_feed: str = ""
    """What the history calls this feed; empty where it knows only one."""
    fetchable: tuple[str, ...] = ("trades", "quotes", "bars")
    """Channels of which the history has the past."""
    history_by_name: bool = True
    """Whether the history has to be asked for symbols by name."""
    delay_seconds: int = 0
    """How old messages are when they come."""
    formats: tuple[str, ...] = ("json", "msgpack")
    """The formats it is available in. The first one is the default."""
    no_star: tuple[str, ...] = ()
    """Channels that are not sold as a whole."""
    trading: bool = False
    """Whether it speaks the trading protocol: `listen` instead of `subscribe`, objects instead of arrays."""


def _stocks(name: str, version: str, **differs: object) -> Endpoint:
    known: dict[str, object] = {"silence": _BUSY, "history": "/v2/stocks", "history_feed": name}
    return Endpoint(name, f"/{version}/{name}", _STOCKS, **{**known, **differs})  # type: ignore[arg-type]  # of several types


def _crypto(name: str, location: str) -> Endpoint:
    path = f"/v1beta3/crypto/{location}"
    return Endpoint(name, path, _CRYPTO, "24/7", silence={"quotes": 60.0, "bars": 150.0}, history=path)


def _options(name: str) -> Endpoint:
    return Endpoint(
        name,
        f"/v1beta1/{name}",
        ("trades", "quotes"),
        silence={"quotes": 60.0},
        history="/v1beta1/options",
        fetchable=("trades",),
        formats=("msgpack",),
        no_star=("quotes",),
    )


ENDPOINTS = {
    endpoint.path: endpoint
    for endpoint in (
        _stocks("iex", "v2"),
        _stocks("sip", "v2"),
        _stocks("delayed_sip", "v2", history_feed="sip", delay_seconds=900),
        _stocks("test", "v2", calendar="24/7", history="", history_feed=""),
        _stocks("boats", "v1beta1", calendar="overnight", silence={"quotes": 120.0}),
        # Derived by Alpaca; the history has the latest of it only.
        _stocks("overnight", "v1beta1", calendar="overnight", silence={"quotes": 120.0}, history="", history_feed=""),
        _crypto("crypto", "us"),
        _crypto("crypto-us-1", "us-1"),
        _crypto("crypto-eu-1", "eu-1"),
        _options("indicative"),
        _options("opra"),
        Endpoint(
            "news",
            "/v1beta1/news",
            ("news",),
            "24/7",
            history="/v1beta1/news",
            fetchable=("news",),
            history_by_name=False,
        ),
        Endpoint(
            "trade_updates",
            "/stream",
            ("trade_updates",),
            "24/7",
            history="/v2/account/activities/FILL",
            fetchable=("trade_updates",),
            history_by_name=False,
            formats=("json",),
            trading=True,
        ),
    )
}


def of(url: str) -> Endpoint | None:
    """The endpoint of an upstream's address: its path, perhaps behind that of a proxy."""
    path = urlsplit(url).path.rstrip("/")
    return next((endpoint for known, endpoint in ENDPOINTS.items() if path.endswith(known)), None)


def place(url: str) -> tuple[str, int, str]:
    """What an account has one connection to: host, port and path, however they are written."""
    parts = urlsplit(url)
    path = re.sub("/+", "/", parts.path).rstrip("/")
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "wss" else 80), path


def is_alpacas(url: str) -> bool:
    """Whether the host is one of Alpaca's."""
    return (urlsplit(url).hostname or "").lower().endswith(".alpaca.markets")


def history_of(url: str, endpoint: Endpoint) -> str:
    """Where Alpaca's REST history of a stream is; empty where the stream's host is not one of Alpaca's."""
    host = (urlsplit(url).hostname or "").lower()
    if not is_alpacas(url):
        return ""
    if endpoint.trading:
        return f"https://{host}"
    return f"https://{host.replace(_DATA, 'data', 1)}" if host.startswith(_DATA) else ""
