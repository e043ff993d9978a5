# SPDX-License-Identifier: GPL-3.0-or-later
"""The server killed in the middle of everything: a client that comes back is told all that it missed, once."""

from __future__ import annotations

import json
from pathlib import Path

from websockets.sync.client import connect

from support import PATIENCE, Server, StandIn, ended, wait_for


def test_after_kill_9_nothing_acknowledged_is_missing_and_nothing_is_there_twice(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        required = {"subscribe": {"trades": ["*"]}}
        server = Server(tmp_path, upstream, upstream=required)
        with ended(server):
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription")
            first = server.status()["store"]["sequence"]
            upstream.control("step", times=20)
            latest = upstream.state()["sent"]["t"]
            wait_for(
                lambda: server.health()["channels"].get("trades", {}).get("received") == latest == 100, "100 trades"
            )
            wait_for(lambda: (store := server.status()["store"])["durable"] == store["sequence"], "them to be durable")
            upstream.control("rate", steps=200)  # killed while it works
            wait_for(lambda: server.status()["received"] > 300, "more")
        upstream.control("rate", steps=0)
        again = Server(tmp_path, upstream, upstream=required)
        with ended(again):
            again.phase("streaming")
            made = upstream.state()["trades"][:100]
            with connect(again.url, open_timeout=PATIENCE) as client:
                found: list[int] = []
                client.send(json.dumps({"action": "auth", "key": "key-0", "secret": "secret-0"}))
                client.send(json.dumps({"action": "subscribe", "trades": ["*"]}))
                client.send(json.dumps({"action": "replay", "since": first, "trades": ["*"]}))
                over = False
                while not over:
                    for item in json.loads(client.recv(PATIENCE)):
                        over = over or item.get("msg") == "replayed"
                        if item["T"] == "t" and not over:
                            found.append(item["i"])
                        assert item["T"] != "error", item
            assert found[:100] == made
            assert len(set(found)) == len(found)
            assert again.stop() == 0
