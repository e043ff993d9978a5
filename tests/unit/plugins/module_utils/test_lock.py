# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a lock may be taken over, and what it says when it may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.algo.trading.plugins.module_utils.lock import Holder, Lock, held_message, why_free

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ME = Holder("me@here", "here/1/pid", "boot-2", 200, "20")
OTHER = replace(ME, holder="you@here", pid=100, process_started="10")
SINCE, EXPIRES = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
LOCK = Lock("some-id", SINCE.isoformat(), EXPIRES.isoformat(), "site.yml", OTHER)
BEFORE, AFTER = SINCE - timedelta(days=1), SINCE + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("by", "gone", "booted", "reason"),
    [
        (OTHER, True, BEFORE, "its process 100 on this machine no longer runs"),
        (OTHER, False, BEFORE, None),
        (replace(OTHER, machine="elsewhere"), True, BEFORE, None),
        (replace(OTHER, machine=""), True, BEFORE, None),
        (replace(OTHER, boot_id="boot-1"), False, AFTER, "its machine was restarted"),
        # The same name and another start, but up for longer than the lock exists: a clone of the holder's machine.
        (replace(OTHER, boot_id="boot-1"), True, BEFORE, None),
        (replace(OTHER, boot_id="boot-1"), True, None, None),
    ],
)
def test_a_lock_is_free_only_if_its_holder_certainly_is_gone(
    by: Holder, gone: bool, booted: datetime | None, reason: str | None
) -> None:
    assert why_free(replace(LOCK, by=by), ME, lambda _holder: gone, booted, NOW) == reason


def test_an_expired_lock_is_free_whoever_holds_it() -> None:
    lock = replace(LOCK, by=replace(OTHER, machine="elsewhere"))
    assert why_free(lock, ME, lambda _holder: False, BEFORE, EXPIRES - timedelta(seconds=1)) is None
    assert "expired" in str(why_free(lock, ME, lambda _holder: False, BEFORE, EXPIRES))


def test_a_lock_survives_its_parameter() -> None:
    assert Lock.from_json(LOCK.to_json(), 1) == LOCK


@pytest.mark.parametrize("value", ["", "no json", "{}", "[]", '{"lock_id": 1, "since": "x"}'])
def test_a_lock_that_can_not_be_read_holds_and_can_be_broken_by_its_id(value: str) -> None:
    lock = Lock.from_json(value, 3)
    assert lock.lock_id == "unreadable-3"
    assert why_free(lock, ME, lambda _holder: True, AFTER, NOW + timedelta(days=9999)) is None


def test_the_message_says_who_since_when_until_when_and_what_to_type() -> None:
    message = held_message("/algo-trading/qa/lock", LOCK)
    for part in ("you@here", "site.yml", LOCK.since, LOCK.expires, "playbooks/unlock.yml -e algo_lock_id=some-id"):
        assert part in message
