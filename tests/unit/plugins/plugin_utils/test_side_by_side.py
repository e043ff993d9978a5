"""Jobs run side by side in the order that they need, with calls up to a limit and pauses that keep nobody waiting.

The calls are pipes that a test closes when it likes, so that what runs at a time is known and no clock is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.side_by_side import Pause, Steps, carry_out


class Calls:
    """Starts calls that end when `end` says so: after each start it is asked which of the running ones end."""

    def __init__(self, end: Callable[[list[str]], list[str]]) -> None:
        self.started: list[str] = []
        self.most = 0
        self._end = end
        self._running: dict[str, int] = {}

    def __call__(self, name: str) -> Any:
        read, write = os.pipe()
        self.started.append(name)
        self._running[name] = write
        self.most = max(self.most, len(self._running))
        for ended in self._end(list(self._running)):
            os.close(self._running.pop(ended))
        return Call(name, read)

    def end_all(self) -> None:
        while self._running:
            os.close(self._running.popitem()[1])


class Call:
    def __init__(self, name: str, read: int) -> None:
        self._name, self._read = name, read

    def fileno(self) -> int:
        return self._read

    def finish(self) -> str:
        os.close(self._read)
        return f"answer to {self._name}"


def at_once(running: list[str]) -> list[str]:
    return running


def job(log: list[str], name: str, *steps: Any) -> Callable[[], Steps]:
    def run() -> Steps:
        log.append(f"{name} begins")
        for step in steps or (name,):
            answer = yield step
            if not isinstance(step, Pause):
                log.append(str(answer))
        log.append(f"{name} ends")

    return run


def test_a_job_begins_when_those_that_it_needs_have_ended() -> None:
    log: list[str] = []
    jobs = {name: job(log, name) for name in ("last", "first", "between")}
    carry_out(jobs, {"last": ["between", "first"], "between": ["first"]}, Calls(at_once), limit=8)
    assert [line for line in log if "answer" not in line] == [
        "first begins", "first ends", "between begins", "between ends", "last begins", "last ends",
    ]  # fmt: skip


def test_independent_jobs_run_at_a_time() -> None:
    log: list[str] = []
    # None ends before all have been started.
    calls = Calls(lambda running: running if len(running) == 3 else [])
    carry_out({name: job(log, name) for name in "abc"}, {}, calls, limit=8)
    assert calls.most == 3
    assert log[:3] == ["a begins", "b begins", "c begins"]


def test_no_more_calls_than_the_limit_run_at_a_time() -> None:
    calls = Calls(lambda running: running[:1] if len(running) == 2 else [])
    carry_out({name: job([], name) for name in "abcdef"}, {}, calls, limit=2, waiting=calls.end_all)
    assert calls.most == 2
    assert calls.started == list("abcdef")


def test_each_call_of_a_job_gets_its_own_answer() -> None:
    log: list[str] = []
    carry_out({"a": job(log, "a", "one", "two")}, {}, Calls(at_once), limit=1)
    assert log == ["a begins", "answer to one", "answer to two", "a ends"]


def test_a_pause_keeps_nobody_waiting() -> None:
    log: list[str] = []
    now = [0.0]
    jobs = {"a": job(log, "a", Pause(5), "late"), "b": job(log, "b", "early")}
    calls = Calls(at_once)

    def clock() -> float:
        # Time goes on only when nothing else is left to do.
        now[0] += 10 if "b ends" in log else 0
        return now[0]

    carry_out(jobs, {}, calls, limit=1, clock=clock)
    assert calls.started == ["early", "late"]
    assert log[-1] == "a ends"


def test_a_job_that_asks_for_nothing_ends_at_once() -> None:
    def nothing() -> Steps:
        return
        yield

    carry_out({"a": nothing, "b": nothing}, {"b": ["a"]}, Calls(at_once), limit=1)


def test_what_is_no_job_need_not_be_waited_for() -> None:
    log: list[str] = []
    carry_out({"a": job(log, "a")}, {"a": ["elsewhere"]}, Calls(at_once), limit=1)
    assert log[-1] == "a ends"


def test_jobs_that_wait_for_each_other_are_an_error_and_no_standstill() -> None:
    with pytest.raises(RuntimeError, match="jobs that wait for each other: a, b"):
        carry_out({name: job([], name) for name in "ab"}, {"a": ["b"], "b": ["a"]}, Calls(at_once), limit=1)
