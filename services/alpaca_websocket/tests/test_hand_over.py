# SPDX-License-Identifier: GPL-3.0-or-later
"""One process goes, another goes on with its feed: on this host, or on one that has only the lease in common."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from websockets.sync.client import connect

from alpaca_websocket.store import Store, StoreSettings
from alpaca_websocket.upstream import position
from serving import calling
from support import Process, Server, StandIn, ended, get, s3_server, wait_for

RATE = 50  # steps of the market in a second
KEY = "lease.json"


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Settings of a lease in a real S3 server."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3_server("data") as endpoint:
        yield {"bucket": "data", "key": KEY, "region": "us-east-1", "endpoint_url": endpoint, "seconds": 2}


def written(lease: dict[str, Any]) -> position.Position | None:
    """What the lease says of the feed."""
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=lease["endpoint_url"])
    found = json.loads(s3.get_object(Bucket="data", Key=KEY)["Body"].read())["positions"].get("iex")
    return msgspec.convert(found, position.Position) if found else None


class Standby(Process):
    """Another host: a store of its own, and the same settings otherwise."""

    def __init__(self, directory: Path, first: Path) -> None:
        directory.mkdir()
        settings = (first / "settings.toml").read_text().replace(str(first / "store"), str(directory / "store"))
        (directory / "settings.toml").write_text(settings)
        super().__init__("-m", "alpaca_websocket", "run", str(directory / "settings.toml"), stream="stderr")
        standby = self.expect(lambda item: item.get("message") == "standby", "that it waits")
        self.page = f"http://127.0.0.1:{standby['observe_port']}"

    def ask(self, what: str) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.page}/{what}")[1]))

    def url(self) -> str:
        ready = self.expect(lambda item: item.get("message") == "ready", "that it has taken over")
        return f"ws://127.0.0.1:{ready['downstream_port']}/v2/iex"


def settled(status: Any) -> dict[str, Any]:
    """The last gap, once it is known what was fetched."""
    return wait_for(lambda: (gaps := status()["gaps"]) and gaps[0]["settled"] and gaps[0], "the gap to be settled")


def of_client(url: str) -> list[dict[str, Any]]:
    """All trades that a server has, as a client gets them."""

    async def run() -> list[dict[str, Any]]:
        async with calling(url, key="key-1", secret="secret-1") as client:
            await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["*"]}))
            found = await client.until(lambda item: item.get("msg") == "replayed")
            return [item for item in found if item["T"] == "t"]

    return asyncio.run(run())


def of_store(directory: Path) -> list[int]:
    store = Store.open(StoreSettings(directory=str(directory), min_free_bytes=1))
    try:
        return [json.loads(item.message.raw)["i"] for item in store.replay("t")]
    finally:
        store.close()


@contextlib.contextmanager
def listening(server: Server, **channels: list[str]) -> Iterator[None]:
    """A client that only listens."""
    with connect(server.url) as connection:
        for asked in ({"action": "auth", "key": "key-0", "secret": "secret-0"}, {"action": "subscribe", **channels}):
            connection.send(json.dumps(asked))
        yield


@pytest.mark.parametrize("by", ["settings", "client"])
def test_the_second_host_fetches_what_fell_between(tmp_path: Path, lease: dict[str, Any], by: str) -> None:
    """The market goes on; the first is killed; the second has nothing but the lease. What only clients of the first
    had asked for is fetched as well, before any of them comes back."""
    standin = StandIn("--symbols", "AAPL")
    with ended(standin):
        wanted = {"trades": ["*"]} if by == "settings" else {}
        first = Server(tmp_path / "1", standin, lease=lease, upstream={"subscribe": wanted, "linger_seconds": 60})
        with ended(first), listening(first, trades=["AAPL"]) if by == "client" else contextlib.nullcontext():
            wait_for(lambda: standin.subscribed("trades"), "the subscription")
            standin.control("rate", steps=RATE)
            wait_for(lambda: (found := written(lease)) and found.last.get("trades"), "the lease to tell of trades")
            second = Standby(tmp_path / "2", tmp_path / "1")
            with ended(second):
                first.kill()
                url = second.url()
                gap = settled(lambda: second.ask("status.json"))
                wait_for(lambda: standin.subscribed("trades"), "the subscription of the second")
                health = second.ask("health")
                assert gap["reason"].startswith("taken over from ")
                assert gap["filled"]
                assert gap["trades"] > 0
                assert health["gaps"]["count"] == 1
                assert health["gaps"]["last"]["channels"]["trades"]["result"] == "filled"
                standin.control("rate", steps=0)
                made = standin.state()["trades"]
                wait_for(lambda: made[-1] in [item["i"] for item in of_client(url)], "the last trade")
                got = of_client(url)
                ids = [item["i"] for item in got]
                assert sorted(ids) == [one for one in made if one >= min(ids)], "one is missing, or came twice"
                assert len([item for item in got if item.get("backfilled")]) == gap["trades"]
                had = of_store(tmp_path / "1" / "store")
                assert min(ids) <= max(had), "one fell between the two"
                assert second.stop() == 0


def test_a_host_that_goes_in_order_hands_over_to_the_message(tmp_path: Path, lease: dict[str, Any]) -> None:
    standin = StandIn("--symbols", "AAPL")
    with ended(standin):
        first = Server(tmp_path / "1", standin, lease=lease, upstream={"subscribe": {"trades": ["*"]}})
        with ended(first):
            wait_for(lambda: standin.subscribed("trades"), "the subscription")
            standin.control("rate", steps=RATE)
            wait_for(lambda: first.health()["channels"].get("trades"), "trades")
            second = Standby(tmp_path / "2", tmp_path / "1")
            with ended(second):
                assert first.stop() == 0
                url = second.url()
                gap = settled(lambda: second.ask("status.json"))
                standin.control("rate", steps=0)
                made = standin.state()["trades"]
                wait_for(lambda: made[-1] in [item["i"] for item in of_client(url)], "the last trade")
                ids = [item["i"] for item in of_client(url)]
                assert gap["filled"]
                assert sorted(ids) == [one for one in made if one >= min(ids)]
                assert min(ids) <= max(of_store(tmp_path / "1" / "store"))


def test_a_gap_that_was_not_filled_when_the_process_was_killed_is_filled_by_the_next(tmp_path: Path) -> None:
    standin = StandIn("--symbols", "AAPL")
    with ended(standin):
        wanted = {"subscribe": {"trades": ["AAPL"]}}
        first = Server(tmp_path, standin, upstream={**wanted, "backfill": {"settle_seconds": 1000.0}})
        with ended(first):
            wait_for(lambda: standin.subscribed("trades"), "the subscription")
            standin.control("step", times=5)
            wait_for(lambda: first.health()["channels"].get("trades", {}).get("received") == 5, "five trades")
            standin.control("abort")
            standin.control("step", times=5, publish=False)
            wait_for(lambda: first.status()["gaps"] and standin.subscribed("trades"), "the feed to be back")
            standin.control("step", times=5)
            wait_for(lambda: first.health()["channels"]["trades"]["received"] == 10, "five more")
            at = (first.health()["channels"]["trades"]["last_message"] or "")[:19]

            def known() -> bool:
                found = position.read(str(tmp_path / "store"))
                return bool(found and found.unfilled) and found.last["trades"] > found.unfilled["trades"]  # type: ignore[union-attr]

            wait_for(known, f"the position to tell of the gap, and of {at}")
            first.kill()
        standin.control("step", times=5)
        again = Server(tmp_path, standin, upstream=wanted)
        with ended(again):
            assert settled(again.status)["filled"]
            ids = [item["i"] for item in of_client(again.url)]
            assert sorted(ids) == standin.state()["trades"]
            assert len(ids) == 20


def test_what_clients_had_subscribed_is_subscribed_again_before_they_are_back(tmp_path: Path) -> None:
    standin = StandIn("--symbols", "AAPL,IBM")
    with ended(standin):
        first = Server(tmp_path, standin, upstream={"linger_seconds": 60})
        with ended(first), listening(first, trades=["AAPL"], bars=["*"]):
            wait_for(lambda: standin.subscribed("bars"), "the subscription")
            standin.control("step", times=3)
            wait_for(
                lambda: (found := position.read(str(tmp_path / "store"))) and found.last.get("bars"), "the position"
            )
            first.kill()
        standin.control("step", times=6)
        again = Server(tmp_path, standin, upstream={"linger_seconds": 60})
        with ended(again):
            gap = settled(again.status)
            assert (gap["trades"], gap["bars"]) == (6, 4)
            assert (standin.subscribed("trades"), standin.subscribed("bars")) == (["AAPL"], ["*"])


def test_a_position_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert position.read(str(tmp_path)) is None
    (tmp_path / "position.json").write_bytes(b'{"at_ns":')
    assert position.read(str(tmp_path)) is None
    kept = position.Position(at_ns=5, last={"trades": 4}, unfilled={"bars": 3})
    position.write(str(tmp_path), kept)
    assert position.read(str(tmp_path)) == kept
    assert kept.earliest_ns == 3
    assert position.later(kept, None) is kept
    assert position.later(None, None) is None
    assert position.later(kept, position.Position(at_ns=6, last={})) is not kept


def test_a_damaged_file_does_not_keep_a_feed_from_running(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        wanted = {"subscribe": {"trades": ["*"]}}
        first = Server(tmp_path / "1", standin, upstream=wanted)
        with ended(first):
            wait_for(lambda: standin.subscribed("trades"), "the subscription")
            standin.control("step", times=4)
            wait_for(lambda: first.status()["store"]["durable"] > first.status()["received"] - 1 > 0, "messages")
            first.stop()
        standin.control("step", times=5)
        files = list((tmp_path / "1" / "store" / "parquet").rglob("*.parquet"))
        assert files
        for file in files:
            file.write_bytes(b"damaged")
        again = Server(tmp_path / "1", standin, upstream=wanted)
        with ended(again):
            gap = settled(again.status)
            assert (gap["filled"], gap["trades"] > 0) == (True, True)
            assert "cannot be read" in again.health()["alerts"]["stored"]
