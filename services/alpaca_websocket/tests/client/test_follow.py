# SPDX-License-Identifier: GPL-3.0-or-later
"""The follower beside servers that are killed, stopped and frozen: nothing lost, nothing twice, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_websocket.client import Follower, FollowError, follow
from serving import message as made
from serving import serving
from support import PATIENCE, Server, StandIn, ended, wait_for
from test_two_servers import AsUpstream

QUICK: dict[str, Any] = {"mark_seconds": 0.1, "backoff_seconds": (0.05, 0.5), "patience_seconds": PATIENCE}


class Following:
    """A follower that notes what it gets, beside the test."""

    def __init__(self, url: str | list[str], channels: dict[str, list[str]], **options: Any) -> None:
        self.follower = Follower(url, "key-1", "secret-1", channels=channels, **QUICK | options)
        self.got: list[dict[str, Any]] = []
        self.ended: BaseException | None = None

    async def run(self) -> None:
        async for item in self.follower:
            self.got.append(item)

    def numbers(self, kind: str = "t") -> list[int]:
        return [item["i"] for item in self.got if item["T"] == kind]

    def in_order(self) -> bool:
        """What was not fetched afterwards came as it was made."""
        live = [item["i"] for item in self.got if item["T"] == "t" and not item.get("backfilled")]
        return live == sorted(live)


@contextlib.asynccontextmanager
async def following(url: str | list[str], trades: list[str], **options: Any) -> AsyncIterator[Following]:
    made = Following(url, {"trades": trades}, **options)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what)


async def off(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """On a thread, so that the follower goes on."""
    return await asyncio.to_thread(call, *arguments, **keywords)


def again(server: Server) -> dict[str, Any]:
    """The setting with which another server takes its place."""
    return {"port": int(server.url.rpartition(":")[2].partition("/")[0])}


async def subscribed(server: Server) -> None:
    """Waits until the follower is."""
    await until(
        lambda: any(one["subscriptions"] for one in server.status()["clients"]), "the follower to be subscribed"
    )


async def filled(server: Server) -> None:
    """Waits until its last gap is."""
    try:
        await until(lambda: all(gap["filled"] for gap in server.status()["gaps"][:1]), "the gap to be filled")
    except AssertionError as error:
        raise AssertionError(f"not filled: {server.status()['gaps'][:2]}") from error


async def complete(seen: Following, standin: StandIn, *, levels: int = 1) -> None:
    """Waits until it has every trade that the market made, and fails if it has one twice.

    Of two levels the second does not know again what the first had passed on, lost by a kill and fetched: that comes
    once more, and says that it is backfilled.
    """
    try:
        await until(lambda: set(standin.state()["trades"]) <= set(seen.numbers()), "the last trades")
    except AssertionError as error:
        missing = sorted(set(standin.state()["trades"]) - set(seen.numbers()))
        raise AssertionError(f"{len(missing)} are missing, from {missing[0]} to {missing[-1]}") from error
    counted = [item["i"] for item in seen.got if item["T"] == "t" and (levels == 1 or not item.get("backfilled"))]
    assert [number for number, times in Counter(counted).items() if times > 1] == []


EVERYTHING = {"subscribe": {"trades": ["*"]}}


def test_nothing_is_lost_or_doubled_when_the_server_is_killed_in_a_burst(tmp_path: Path) -> None:
    standin = StandIn()

    async def run() -> None:
        server = await off(Server, tmp_path / "1", standin, upstream=EVERYTHING)
        async with following(server.url, ["*"]) as seen:
            await until(
                lambda: any(client["subscriptions"] for client in server.status()["clients"]),
                "the follower to be subscribed",
            )
            await off(standin.control, "rate", steps=100)
            for round_ in range(3):
                before = len(seen.got)
                await until(lambda before=before: len(seen.got) > before + 300, "messages")  # type: ignore[misc]
                if round_ == 1:
                    assert await off(server.stop) == 0
                else:
                    await off(server.kill)
                server = await off(Server, tmp_path / "1", standin, upstream=EVERYTHING, downstream=again(server))
                await filled(server)
            before = len(seen.got)
            await until(lambda: len(seen.got) > before + 100, "messages after the last restart")
            await off(standin.control, "rate", steps=0)
            await complete(seen, standin)
            assert seen.in_order()
            assert seen.follower.losses >= 3
        await off(server.stop)

    with ended(standin):
        asyncio.run(run())


def test_it_follows_through_two_levels_of_which_each_is_killed(tmp_path: Path) -> None:
    standin = StandIn()
    chained = EVERYTHING | {"backfill": {"source": "replay"}}

    async def run() -> None:
        first = await off(Server, tmp_path / "1", standin, upstream=EVERYTHING)
        second = await off(Server, tmp_path / "2", AsUpstream(first), upstream=chained)
        async with following(second.url, ["*"]) as seen:
            await until(
                lambda: any(client["subscriptions"] for client in second.status()["clients"]),
                "the follower to be subscribed",
            )
            await off(second.phase, "streaming")
            await off(standin.control, "rate", steps=50)
            for level in (1, 2, 1, 2):
                before = len(seen.got)
                await until(lambda before=before: len(seen.got) > before + 200, "messages")  # type: ignore[misc]
                if level == 1:
                    await off(first.kill)
                    first = await off(Server, tmp_path / "1", standin, upstream=EVERYTHING, downstream=again(first))
                else:
                    await off(second.kill)
                    second = await off(
                        Server, tmp_path / "2", AsUpstream(first), upstream=chained, downstream=again(second)
                    )
                for server in (first, second):
                    # A level that is killed before its gap is filled may lose the rest: not the follower can help that.
                    await filled(server)
            before = len(seen.got)
            await until(lambda: len(seen.got) > before + 100, "messages after the last restart")
            await off(standin.control, "rate", steps=0)
            await complete(seen, standin, levels=2)
        await off(second.stop)
        await off(first.stop)

    with ended(standin):
        asyncio.run(run())


def test_what_came_while_it_was_not_connected_follows_in_order(tmp_path: Path) -> None:
    """The server cuts it again and again in the middle of a burst of trades and of quotes that are all alike."""

    async def run() -> None:
        async with serving(tmp_path, store=True) as here:
            seen = Following(here.url, {"trades": ["AAPL"], "quotes": ["*"]})
            task = asyncio.create_task(seen.run())
            while not here.router.wanted():
                await asyncio.sleep(0.01)
            sent = 0
            for cut in range(12):
                for _ in range(20):
                    here.publish(made("t", "AAPL", sent), made("q", "IBM", 0), made("t", "MSFT", 0))
                    sent += 1
                    await asyncio.sleep(0.001 * (cut % 3))
                for connection in list(here.server._sessions):
                    connection.end(1012, "", at_once=True)
            while len(seen.got) < 2 * sent:
                assert not task.done()
                await asyncio.sleep(0.01)
            task.cancel()
            assert seen.numbers() == list(range(sent))
            assert seen.numbers("q") == [0] * sent
            assert [item["T"] for item in seen.got] == ["t", "q"] * sent
            assert seen.follower.losses >= 1

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE))


class Hesitant(Follower):
    """Its two requests come apart on the way."""

    between: Callable[[], None] = staticmethod(lambda: None)

    async def _send(self, socket: Any, **request: Any) -> None:
        if request["action"] == "subscribe":
            await asyncio.sleep(0.3)
            type(self).between()
        await super()._send(socket, **request)


def test_nothing_passes_between_the_replay_and_the_subscription(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as here:
            asked = 0

            def publish() -> None:
                nonlocal asked
                asked += 1
                if asked <= 2:
                    here.publish(made("t", "AAPL", asked))

            monkeypatch.setattr(Hesitant, "between", staticmethod(publish))
            here.publish(made("t", "AAPL", 0))
            follower = Hesitant(here.url, "me", "", channels={"trades": ["AAPL"]}, since=0, mark_seconds=0.1)
            got = []
            async for item in follower:
                got.append(item["i"])
                if len(got) == 3:
                    # Only together do the requests leave nothing out; until then it asks again.
                    monkeypatch.setattr(Hesitant, "_send", Follower._send)
                    here.publish(made("t", "AAPL", 3))
                if len(got) == 4:
                    break
            assert got == [0, 1, 2, 3]

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE))


def test_a_restart_of_the_client_goes_on_where_it_was(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as here:
            here.publish(made("t", "AAPL", 1), made("t", "IBM", 2))
            got = []
            first = follow(here.url, "me", "", since=0, trades=["*"])
            async with contextlib.aclosing(aiter(first)) as items:  # type: ignore[type-var]
                async for item in items:
                    got.append(item["i"])
                    if len(got) == 2:
                        break
            here.publish(made("t", "AAPL", 3))
            async for item in follow(here.url, "me", "", since=first.since, trades=["AAPL"]):
                got.append(item["i"])
                if item["i"] == 3:
                    break
            assert got == [1, 2, 1, 3]  # what came in the last seconds comes twice then

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE))


def test_of_several_addresses_one_that_answers_is_used(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as here:
            here.publish(made("t", "AAPL", 1))
            async for item in follow(["ws://127.0.0.1:9/v2/iex", here.url], "me", "", since=0, trades=["AAPL"]):
                assert item["i"] == 1
                break

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE))


TOKENS = """
[[client]]
name = "me"
key = "me"
secret_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
channels = ["trades"]
"""


def test_what_trying_again_does_not_mend_is_raised(tmp_path: Path) -> None:
    here: Any = None

    async def first(**asked: Any) -> None:
        url = here.url.replace("v2/iex", asked.pop("path", "v2/iex"))
        async for _item in follow(url, "me", asked.pop("secret", ""), since=asked.pop("since", 0), **asked):
            raise AssertionError("nothing is there")

    async def run() -> None:
        nonlocal here
        async with serving(tmp_path, store=True, tokens=TOKENS) as here:
            with pytest.raises(FollowError, match="402 auth failed"):
                await first(secret="wrong", trades=["*"])
            with pytest.raises(FollowError, match="409 insufficient subscription"):
                await first(quotes=["*"])
            with pytest.raises(FollowError, match="400 invalid syntax"):
                await first(trades=["*"], since="yesterday")
            with pytest.raises(FollowError, match="nonsense is refused with HTTP status 404"):
                await first(trades=["*"], path="nonsense")
        async with serving(tmp_path) as here:
            with pytest.raises(FollowError, match="410"):
                await first(trades=["*"])  # a server that stores nothing has nothing to replay
        with pytest.raises(ValueError, match="unknown channels: trade; there are trades"):
            follow("ws://127.0.0.1:9", "me", "", trade=["AAPL"])

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE))


@pytest.mark.parametrize("live", [False, True])
def test_an_upstream_without_room_for_a_symbol_does_not_end_the_others(live: bool) -> None:
    follower = follow("ws://127.0.0.1:1/v2/iex", "key", "secret", trades=["A"])
    told = {"T": "error", "code": 405, "msg": "symbol limit exceeded: upstream has no room for trades A"}
    follower._check(told, live=live)
    with pytest.raises(FollowError):
        follower._check({**told, "msg": "symbol limit exceeded"})
