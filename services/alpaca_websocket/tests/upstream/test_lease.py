# SPDX-License-Identifier: GPL-3.0-or-later
"""One owner at a time, by an object in a real S3 server that is written on condition."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from alpaca_websocket.settings import Lease as LeaseSettings
from alpaca_websocket.upstream import lease
from alpaca_websocket.upstream.lease import Lease, LeaseUnreachable
from alpaca_websocket.upstream.position import Position
from support import s3_server

BUCKET = "data"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3_server(BUCKET) as url:
        yield url


@pytest.fixture
def s3(endpoint: str) -> Any:
    return boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint)


@pytest.fixture
def settings(endpoint: str) -> LeaseSettings:
    return LeaseSettings(bucket=BUCKET, region="us-east-1", endpoint_url=endpoint, seconds=30)


def test_the_first_has_it_and_the_second_waits_until_it_is_left_alone(s3: Any, settings: LeaseSettings) -> None:
    clock = Clock()
    first, second = Lease(settings, s3, clock), Lease(settings, s3, clock)
    assert first.try_acquire()
    assert not second.try_acquire()
    for _ in range(5):  # renewed in time: for as long as it likes
        clock.now += 25
        assert first.renew()
        assert not second.try_acquire()
    clock.now += 29
    assert not second.try_acquire()
    clock.now += 1
    assert second.try_acquire()
    assert not first.renew(), "it learns that it has lost it"
    assert second.renew()


def test_a_lease_given_back_is_free_at_once(s3: Any, settings: LeaseSettings) -> None:
    clock = Clock()
    first, second = Lease(settings, s3, clock), Lease(settings, s3, clock)
    assert first.try_acquire()
    first.release()
    assert second.try_acquire()
    assert not first.renew()


def test_who_waits_knows_for_whom(s3: Any, settings: LeaseSettings) -> None:
    first, second = Lease(settings, s3), Lease(settings, s3)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert second.holder is not None
    assert second.holder.owner == first.owner
    assert json.loads(s3.get_object(Bucket=BUCKET, Key=settings.key)["Body"].read())["host"] == second.holder.host


def test_whoever_takes_over_knows_up_to_where_all_was_safe(s3: Any, settings: LeaseSettings) -> None:
    """And goes on telling it until it knows better, for each feed."""
    clock = Clock()
    iex, crypto = Position(at_ns=1, last={"trades": 1}), Position(at_ns=2, last={"bars": 2})
    newer = Position(at_ns=9, last={"trades": 9})
    known: dict[str, Position] = {}
    first = Lease(settings, s3, clock, lambda: {"iex": iex, "crypto": crypto})
    second = Lease(settings, s3, clock, lambda: known)
    third = Lease(settings, s3, clock)
    assert first.try_acquire()
    assert first.inherited == {}
    assert not second.try_acquire()
    clock.now += 31
    assert second.try_acquire()
    assert second.inherited == {"iex": iex, "crypto": crypto}
    known["iex"] = newer
    assert second.renew()
    assert not third.try_acquire()
    second.release()
    assert third.try_acquire()
    assert third.inherited == {"iex": newer, "crypto": crypto}


def test_a_lease_of_an_older_version_tells_nothing(s3: Any, settings: LeaseSettings) -> None:
    body = b'{"owner":"x","host":"y","process":1,"renewed":1.0,"released":true}'
    s3.put_object(Bucket=BUCKET, Key=settings.key, Body=body)
    one = Lease(settings, s3)
    assert one.try_acquire()
    assert one.inherited == {}


def test_of_many_who_try_at_once_one_wins(s3: Any, settings: LeaseSettings) -> None:
    for _ in range(5):
        clock = Clock()
        leases = [Lease(settings, s3, clock) for _ in range(8)]
        won: list[bool] = []
        start = threading.Barrier(len(leases))

        def attempt(one: Lease, start: threading.Barrier = start, won: list[bool] = won) -> None:
            start.wait()
            won.append(one.try_acquire())

        threads = [threading.Thread(target=attempt, args=(one,)) for one in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(won) == 1
        s3.delete_object(Bucket=BUCKET, Key=settings.key)


def test_an_object_that_is_no_lease_is_taken_over_in_time(s3: Any, settings: LeaseSettings) -> None:
    clock = Clock()
    s3.put_object(Bucket=BUCKET, Key=settings.key, Body=b"\xff nonsense")
    one = Lease(settings, s3, clock)
    assert not one.try_acquire()
    clock.now += 31
    assert one.try_acquire()


def test_an_answer_that_got_lost_loses_nothing(s3: Any, settings: LeaseSettings) -> None:
    """The write arrived, its answer did not, and boto3 writes again: refused, and yet it is ours."""
    one = Lease(settings, s3)
    assert one.try_acquire()
    stale = one._etag
    assert one.renew()
    one._etag = stale
    assert one.renew()


def test_without_s3_an_owner_keeps_it_and_says_so(s3: Any, settings: LeaseSettings) -> None:
    one = Lease(settings, s3)
    assert one.try_acquire()
    gone = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}),
    )
    cut = Lease(settings, gone)
    with pytest.raises(LeaseUnreachable):
        cut.try_acquire()
    with pytest.raises(LeaseUnreachable):
        cut.renew()
    cut.release()  # does its best, and no more

    said: list[str] = []

    async def run() -> None:
        keeping = asyncio.create_task(lease.keep(cut, 0.03, said.append))
        while len(said) < 3:
            await asyncio.sleep(0.01)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(run())
    assert all("cannot be written" in text for text in said)


def test_whoever_keeps_it_learns_that_it_was_taken(s3: Any, settings: LeaseSettings) -> None:
    one = Lease(settings, s3)
    assert one.try_acquire()
    s3.put_object(Bucket=BUCKET, Key=settings.key, Body=b'{"owner":"x","host":"y","process":1,"renewed":1.0}')

    async def run() -> None:
        async with asyncio.timeout(60):
            await lease.keep(one, 0.03, lambda _text: None)

    asyncio.run(run())
