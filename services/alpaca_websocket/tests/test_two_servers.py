# SPDX-License-Identifier: GPL-3.0-or-later
"""Two servers: one as the upstream of the other, one in the place of the other, one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alpaca_websocket.protocol import rfc3339
from serving import Caller, calling, certificate
from support import Process, Server, StandIn, ended, get, s3_server, wait_for

FAKE = {"x": "V", "p": 1.5, "s": 1, "c": ["@"], "z": "C"}


@dataclass
class AsUpstream:
    """A server of ours, as the settings of another want it."""

    server: Server
    key: str = "key-0"
    secret: str = "secret-0"
    rest: str = "http://127.0.0.1:9"

    tls: bool = False

    @property
    def stream(self) -> str:
        return self.server.url.replace("ws:", "wss:") if self.tls else self.server.url


def trade(number: int) -> dict[str, Any]:
    return {"T": "t", "S": "AAPL", "i": number, **FAKE, "t": rfc3339(time.time_ns())}


def listening(server: Server, **options: Any) -> Any:
    return calling(server.url, key="key-1", secret="secret-1", **options)


async def numbers(client: Caller, through: int) -> list[int]:
    return [item["i"] for item in await client.until(lambda item: item.get("i") == through)]


async def subscribe(client: Caller, standin: StandIn) -> None:
    """And waits until the subscription has come all the way up."""
    await client.ask(action="subscribe", trades=["AAPL"])
    await asyncio.to_thread(wait_for, lambda: "AAPL" in standin.subscribed("trades"), "the subscription upstream")


def is_last(item: dict[str, Any]) -> bool:
    return bool(item.get("i") == -1)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_server_is_the_upstream_of_another(tmp_path: Path, tls: bool) -> None:
    """What a client of the second asks for is subscribed by the second at the first, and by the first at Alpaca."""
    made, key = certificate(tmp_path)
    standin = StandIn()
    with ended(standin):
        first = Server(tmp_path / "1", standin, downstream={"tls_certificate": made, "tls_key": key} if tls else {})
        upstream = {"backfill": {"source": "replay"}, "ca_file": made if tls else ""}
        second = Server(tmp_path / "2", AsUpstream(first, tls=tls), upstream=upstream)  # type: ignore[arg-type]
        with ended(first, second):

            async def run() -> None:
                async with listening(second) as client:
                    await subscribe(client, standin)
                    for number in range(20):
                        await asyncio.to_thread(standin.control, "send", messages=[trade(number)])
                    assert await numbers(client, 19) == list(range(20))

            asyncio.run(run())
            assert second.stop() == first.stop() == 0


def test_the_second_level_asks_the_first_for_what_it_missed(tmp_path: Path) -> None:
    """The second is frozen until the first has cut it, wakes up, and then has everything, once."""
    standin = StandIn()
    with ended(standin):
        first = Server(tmp_path / "1", standin, downstream={"ping_seconds": 0.3})
        second = Server(
            tmp_path / "2",
            AsUpstream(first),  # type: ignore[arg-type]
            upstream={"backfill": {"source": "replay"}, "subscribe": {"trades": ["AAPL"]}},
        )
        with ended(first, second):
            wait_for(lambda: "AAPL" in standin.subscribed("trades"), "the subscription upstream")
            wait_for(lambda: first.status()["clients"], "the second to be connected")
            second.phase("streaming")
            standin.control("send", messages=[trade(number) for number in range(5)])
            wait_for(lambda: second.health()["channels"].get("trades", {}).get("received") == 5, "the first five")
            os.kill(second.popen.pid, signal.SIGSTOP)
            try:
                wait_for(lambda: not first.status()["clients"], "the first to give the second up")
                standin.control("send", messages=[trade(number) for number in range(5, 50)])
                wait_for(lambda: first.health()["channels"]["trades"]["received"] == 50, "the first to have them")
            finally:
                os.kill(second.popen.pid, signal.SIGCONT)

            async def run() -> None:
                wait_for(lambda: any(gap["filled"] for gap in second.status()["gaps"]), "the gap to be filled")
                async with listening(second) as client:
                    await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["*"]}))
                    found = await client.until(lambda item: item.get("msg") == "replayed")
                    assert [item["i"] for item in found[:-1]] == list(range(50))
                    assert [item["i"] for item in found if item.get("backfilled")] == list(range(5, 50))

            asyncio.run(run())


def test_what_the_first_level_fetched_is_not_live_at_the_second(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        first = Server(tmp_path / "1", standin, upstream={"subscribe": {"trades": ["*"]}})
        replaying = {"backfill": {"source": "replay"}, "subscribe": {"trades": ["*"]}}
        second = Server(tmp_path / "2", AsUpstream(first), upstream=replaying)  # type: ignore[arg-type]
        with ended(first, second):
            wait_for(lambda: any(client["subscriptions"] for client in first.status()["clients"]), "its subscription")
            standin.control("step", times=4)
            wait_for(lambda: second.health()["channels"].get("trades", {}).get("received"), "the first ones")

            async def run() -> None:
                async with listening(second) as plain, calling(second.url, key="key-2", secret="secret-2") as asking:
                    await plain.ask(action="subscribe", trades=["*"])
                    await asking.ask(action="subscribe", trades=["*"], backfilled=True)
                    await asyncio.to_thread(standin.control, "abort")
                    await asyncio.to_thread(standin.control, "step", times=5)
                    await asyncio.to_thread(
                        wait_for, lambda: any(gap["trades"] for gap in first.status()["gaps"]), "the first's gap"
                    )
                    await asyncio.to_thread(standin.control, "send", messages=[trade(-1)])
                    assert not any(item.get("backfilled") for item in await plain.until(is_last))
                    assert any(item.get("backfilled") for item in await asking.until(is_last))

            asyncio.run(run())


def test_a_replay_that_brings_nothing_new_is_the_end_of_a_gap(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        wanted = {"subscribe": {"trades": ["AAPL"]}}
        first = Server(tmp_path / "1", standin, upstream=wanted)
        replaying = wanted | {"backfill": {"source": "replay"}}
        second = Server(tmp_path / "2", AsUpstream(first), upstream=replaying)  # type: ignore[arg-type]
        with ended(first, second):
            second.phase("streaming")
            wait_for(lambda: any(client["subscriptions"] for client in first.status()["clients"]), "its subscription")
            standin.control("send", messages=[trade(number) for number in range(5)])
            wait_for(lambda: second.health()["channels"].get("trades", {}).get("received") == 5, "the five")
            first.stop()
            port = int(first.url.rpartition(":")[2].partition("/")[0])
            again = Server(tmp_path / "1", standin, upstream=wanted, downstream={"port": port})
            with ended(again):
                wait_for(lambda: any(gap["filled"] for gap in second.status()["gaps"]), "the gap to be filled")
                standin.control("send", messages=[trade(5)])
                wait_for(lambda: second.health()["channels"]["trades"]["received"] >= 6, "the sixth")
                assert [line for line in second.lines if "exception" in line] == []


def test_the_second_level_does_not_call_filled_what_the_first_did_not_fetch(tmp_path: Path) -> None:
    """The first is killed and comes back; of the time between it fetches trades, and no quotes."""
    standin = StandIn()
    with ended(standin):
        wanted = {"subscribe": {"trades": ["AAPL"], "quotes": ["AAPL"]}}
        first = Server(tmp_path / "1", standin, upstream=wanted)
        replaying = wanted | {"backfill": {"source": "replay"}}
        second = Server(tmp_path / "2", AsUpstream(first), upstream=replaying)  # type: ignore[arg-type]
        with ended(first, second):
            second.phase("streaming")
            wait_for(lambda: any(client["subscriptions"] for client in first.status()["clients"]), "its subscription")
            standin.control("send", messages=[trade(number) for number in range(5)])
            wait_for(lambda: second.health()["channels"].get("trades", {}).get("received") == 5, "the five")
            wait_for(lambda: first.status()["store"]["durable"] == first.status()["store"]["sequence"], "its store")
            wait_for((tmp_path / "1" / "store" / "position.json").exists, "its position")
            first.kill()
            port = int(first.url.rpartition(":")[2].partition("/")[0])
            again = Server(tmp_path / "1", standin, upstream=wanted, downstream={"port": port})
            with ended(again):
                settled = wait_for(
                    lambda: [gap for gap in second.status()["gaps"] if gap["settled"]], "the second's gap"
                )
                gap = settled[0]
                assert gap["channels"]["trades"]["result"] == "filled", gap
                assert "the upstream says: not fetched" in gap["channels"]["quotes"]["result"], gap
                assert not gap["filled"]


def test_a_gap_of_the_first_level_alone_is_known_at_the_second(tmp_path: Path) -> None:
    """Their own connection stands: the first loses Alpaca, fetches the trades, and no quotes."""
    standin = StandIn()
    with ended(standin):
        wanted = {"subscribe": {"trades": ["*"], "quotes": ["*"]}}
        first = Server(tmp_path / "1", standin, upstream=wanted)
        replaying = wanted | {"backfill": {"source": "replay"}}
        second = Server(tmp_path / "2", AsUpstream(first), upstream=replaying)  # type: ignore[arg-type]
        with ended(first, second):
            wait_for(lambda: any(client["subscriptions"] for client in first.status()["clients"]), "its subscription")
            standin.control("step", times=4)
            before = len(standin.state()["trades"])

            def arrived() -> bool:
                channels = second.health()["channels"]
                return "quotes" in channels and bool(channels.get("trades", {}).get("received") == before)

            wait_for(arrived, "the first ones")
            standin.control("abort")
            standin.control("step", times=5, publish=False)
            gap = wait_for(lambda: (gaps := second.status()["gaps"]) and gaps[0], "the second to be told")
            fetched = wait_for(lambda: (gaps := first.status()["gaps"]) and gaps[0], "the first's gap")["trades"]
            assert gap["reason"].startswith("the upstream was without its feed: ")
            assert gap["channels"]["trades"]["result"] == "filled"
            why = "the upstream says: not fetched: backfill.channels leaves it out"
            assert gap["channels"]["quotes"]["result"] == why
            assert (gap["settled"], gap["filled"]) == (True, False)
            assert second.health()["channels"]["trades"]["received"] == before + fetched > before
            assert second.health()["status"] == "degraded"

            async def run() -> None:
                async with listening(second) as client:
                    asked = {"action": "replay", "since": 0, "trades": ["*"], "quotes": ["*"]}
                    await client.socket.send(json.dumps(asked))
                    found = await client.until(lambda item: item.get("msg") == "replayed")
                    assert found[-1]["missing"] == {"quotes": why}

            asyncio.run(run())


def test_what_came_while_the_server_was_down_is_fetched_at_the_next_start(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        wanted = {"subscribe": {"trades": ["*"], "bars": ["*"]}}
        first = Server(tmp_path / "1", standin, upstream=wanted)
        with ended(first):
            wait_for(lambda: standin.subscribed("bars"), "the subscription upstream")
            before = first.status()["store"]["durable"]
            standin.control("step", times=4)
            made = len(standin.state()["trades"])
            wait_for(lambda: first.status()["store"]["durable"] >= before + made, "messages to be stored")
            first.kill()
        standin.control("step", times=5)  # nobody listens
        again = Server(tmp_path / "1", standin, upstream=wanted)
        with ended(again):
            wait_for(lambda: any(gap["filled"] for gap in again.status()["gaps"]), "the gap to be filled")
            standin.control("step", times=2)

            async def run() -> None:
                expected = set(standin.state()["trades"])
                wait_for(
                    lambda: again.health()["channels"].get("trades", {}).get("received", 0) > 0, "live messages again"
                )
                async with listening(again) as client:
                    await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["*"]}))
                    found = await client.until(lambda item: item.get("msg") == "replayed")
                    got = [item["i"] for item in found if item["T"] == "t"]
                    assert len(got) == len(set(got))
                    assert set(got) == expected
                    assert any(item.get("backfilled") for item in found)

            asyncio.run(run())


def test_a_second_server_of_the_same_store_waits_and_takes_over(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        first = Server(tmp_path / "1", standin)
        with ended(first):
            first.phase("streaming")
            second = Process("-m", "alpaca_websocket", "run", str(tmp_path / "1" / "settings.toml"), stream="stderr")
            with ended(second):
                page = second.expect(lambda item: item.get("message") == "standby", "that it waits")["observe_port"]
                health = f"http://127.0.0.1:{page}/health"
                wait_for(lambda: json.loads(get(health)[1])["feed"]["phase"] == "standby", "it to stand by")
                assert len(standin.state()["connections"]) == 1
                first.kill()
                second.expect(lambda item: item.get("message") == "ready", "that it has taken over")
                wait_for(lambda: json.loads(get(health)[1])["feed"]["phase"] == "streaming", "it to stream")
                assert second.stop() == 0


def test_of_two_hosts_one_has_the_lease_and_the_other_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3_server("data") as endpoint:
        lease = {"bucket": "data", "region": "us-east-1", "endpoint_url": endpoint, "seconds": 1}
        standin = StandIn()
        with ended(standin):
            first = Server(tmp_path / "1", standin, lease=lease)
            with ended(first):
                first.phase("streaming")
                settings = (tmp_path / "1" / "settings.toml").read_text()
                (tmp_path / "2").mkdir()
                # Another host: a store of its own.
                other = settings.replace(str(tmp_path / "1" / "store"), str(tmp_path / "2" / "store"))
                (tmp_path / "2" / "settings.toml").write_text(other)
                second = Process(
                    "-m", "alpaca_websocket", "run", str(tmp_path / "2" / "settings.toml"), stream="stderr"
                )
                with ended(second):
                    second.expect(lambda item: item.get("message") == "standby", "that it waits")
                    first.kill()
                    standin.control("abort")
                    second.expect(lambda item: item.get("message") == "ready", "that it has taken over")
                    wait_for(lambda: standin.state()["connections"], "the second to be connected")
                    assert second.stop() == 0
