# SPDX-License-Identifier: GPL-3.0-or-later
"""npm's @alpacahq/alpaca-trade-api against the server: the version before the rewrite and the newest, as they come."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving import certificate
from support import PATHS, ROOT, Server, StandIn, ended, get, wait_for

from .test_five_streams import AT, OPTION, article, fill

PACKAGE = "@alpacahq/alpaca-trade-api"
# The client's script, and the version that it is for.
CLIENTS = {"trade_api_3.cjs": "3.1.3", "trade_api_4.cjs": "4.0.2"}
ALL_FEEDS = "trade_api_3_feeds.cjs"
CACHE = ROOT.parents[1] / ".cache" / "npm"
pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no node and npm here")


def _installed(version: str) -> Path:
    """The directory with the package; it is installed once, and without running anything that it brings."""
    found = CACHE / f"alpaca-trade-api-{version}"
    if not found.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
            done = subprocess.run(
                [*command, "--prefix", made, f"{PACKAGE}@{version}"], capture_output=True, text=True, timeout=300
            )
            if done.returncode:
                pytest.skip(f"npm cannot install {PACKAGE} {version}: {done.stderr.strip()[-300:]}")
            Path(made, "complete").mkdir()
            Path(made, "node_modules").rename(Path(made, "complete", "node_modules"))
            if not found.exists():
                Path(made, "complete").rename(found)
    return found


class World:
    """The server with TLS, without which the older client does not connect."""

    def __init__(self, directory: Path, upstream: StandIn, *feeds: str) -> None:
        self.upstream = upstream
        self.certificate, key = certificate(directory)
        self.server = Server(
            directory / "server",
            dict.fromkeys(feeds, upstream) if feeds else upstream,
            downstream={"tls_certificate": self.certificate, "tls_key": key},
        )

    @property
    def url(self) -> str:
        return str(self.server.url).replace("ws:", "wss:")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    upstream = StandIn()
    with ended(upstream):
        made = World(tmp_path_factory.mktemp("npm"), upstream)
        with ended(made.server):
            made.server.phase("streaming")
            yield made


class Client:
    def __init__(self, world: World, script: str, symbol: str, url: str = "") -> None:
        # A script finds packages beside itself.
        directory = _installed(CLIENTS.get(script, "3.1.3"))
        shutil.copy(Path(__file__).with_name(script), directory / script)
        self.process = subprocess.Popen(
            ["node", str(directory / script), url or world.url, "key-2", "secret-2", symbol],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_EXTRA_CA_CERTS": world.certificate},
        )
        self.got: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.got.append(json.loads(line))

    def of(self, kind: str) -> list[Any]:
        return [item[kind] for item in list(self.got) if kind in item]


@pytest.mark.parametrize("script", CLIENTS)
def test_it_connects_with_its_own_settings_and_gets_its_symbol(world: World, script: str) -> None:
    symbol = {"trade_api_3.cjs": "GOOG", "trade_api_4.cjs": "IBM"}[script]
    client = Client(world, script, symbol)
    try:
        wait_for(lambda: "authenticated" in client.of("state") or client.of("error"), "it to authenticate")
        assert client.of("error") == []
        wait_for(lambda: symbol in world.upstream.subscribed("bars"), "its subscription to reach upstream")
        world.upstream.control("step", times=6)
        wait_for(lambda: len(client.of("trade")) == 6 and len(client.of("bar")) == 2, "six trades and two bars")
        assert {item.get("Symbol") or item.get("symbol") for item in client.of("trade")} == {symbol}
        assert client.of("error") == []
        [view] = [each for each in world.server.status()["clients"] if each["subscriptions"].get("trades")]
        assert view["format"] == "msgpack"
    finally:
        client.process.kill()
        client.process.wait()


def test_all_its_streams_find_their_feeds_at_the_paths_that_they_make_themselves(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        world = World(tmp_path, upstream, "crypto", "opra", "news", "trade_updates")
        with ended(world.server):
            wait_for(lambda: world.server.health()["status"] == "ok", "all feeds to stream")
            client = Client(world, ALL_FEEDS, OPTION, world.url.replace(PATHS["crypto"], ""))
            try:
                wait_for(lambda: len(client.of("connected")) == 4 or client.of("error"), "it to authenticate")
                assert client.of("error") == []
                for feed, channel in (("crypto", "orderbooks"), ("opra", "trades"), ("news", "news")):
                    wait_for(partial(upstream.subscribed, channel, PATHS[feed]), f"the subscription to {feed}")
                page = f"{world.server.page}/status.json?feed=trade_updates"
                wait_for(lambda: json.loads(get(page)[1])["clients"][0]["subscriptions"], "it to listen")
                book = {"T": "o", "S": "BTC/USD", "t": AT, "b": [{"p": 1.5, "s": 2}], "a": [], "r": True}
                coin = {"T": "t", "S": "BTC/USD", "p": 1.5, "s": 1, "t": AT, "i": 1, "tks": "B"}
                trade = {"T": "t", "S": OPTION, "p": 2.84, "s": 1, "x": "N", "c": "S", "t": AT}
                upstream.control("send", messages=[coin, book], path=PATHS["crypto"])
                upstream.control("send", messages=[trade], path=PATHS["opra"])
                upstream.control("send", messages=[article(1, "CRSR")], path=PATHS["news"])
                upstream.control("trade_update", data=fill(1))
                for name in ("crypto", "book", "opra", "news", "update"):
                    wait_for(partial(client.of, name), f"{name} to arrive")
                assert client.of("update")[0]["order"]["client_order_id"] == "mine-1"
                assert client.of("news")[0].get("Symbols", client.of("news")[0].get("symbols")) == ["CRSR"]
                assert client.of("error") == []
            finally:
                client.process.kill()
                client.process.wait()
