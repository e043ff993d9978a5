# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking hosts to drain over SSM, many with one command, and waiting for each one's own confirmation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from .hosts import in_batches
from .settings import ShutdownSettings

# SSM times out for a host that has not picked up the command by then; the minimum is 30.
_DELIVERY_TIMEOUT = 60
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
_UNDER_WAY = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


@dataclass(frozen=True)
class Answer:
    """State of one host's drain."""

    under_way: bool
    confirmed: bool
    detail: str


@dataclass
class Drained:
    """Results of the drains that did not confirm: failed, or unknown at the timeout, with the reason."""

    failed: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)


def drain(
    ssm: Any,
    settings: ShutdownSettings,
    ids: Sequence[str],
    clock: Clock,
    deadline: float,
    confirmed: Callable[[Mapping[str, str]], None],
) -> Drained:
    """Send the drain to each of these hosts once. What is unfinished at `deadline` may succeed later.

    :param confirmed: is given the hosts that confirmed, and what they said, as soon as they did.
    """
    result = Drained()
    commands: dict[str, list[str]] = {}

    def send(batch: list[str]) -> None:
        response = ssm.send_command(
            InstanceIds=batch,
            DocumentName=settings.drain_document,
            Comment=f"Shutdown of {settings.project} {settings.environment}",
            TimeoutSeconds=_DELIVERY_TIMEOUT,
            # SSM's defaults would drain in groups and give up on the rest after the first failure.
            MaxConcurrency="100%",
            MaxErrors="100%",
        )
        commands[response["Command"]["CommandId"]] = batch

    # Sending may be slow. What was sent must also be waited for and stopped, or the next invocation only repeats it.
    send_until = clock.monotonic() + (deadline - clock.monotonic()) / 2
    sent = in_batches(ids, send, lambda: clock.monotonic() < send_until)
    for id_, why in sent.failed.items():
        if id_ in sent.later:
            result.unfinished[id_] = f"the drain was not sent: {why}"
        else:
            result.failed[id_] = f"SSM rejected the command: {why}"
    given = clock.monotonic() + settings.drain_timeout
    waiting = {command: set(batch) for command, batch in commands.items()}
    trouble = ""
    pause = _FIRST_PAUSE
    while True:
        new: dict[str, str] = {}
        for command, batch in list(waiting.items()):
            if clock.monotonic() >= deadline:
                break
            try:
                for id_, answer in _ask(ssm, command, frozenset(batch)):
                    if not answer.under_way:
                        (new if answer.confirmed else result.failed)[id_] = answer.detail
                        batch.discard(id_)
            except Exception as error:  # the next round asks again
                trouble = f"; SSM calls failed: {error}"
            if not batch:
                del waiting[command]
        if new:
            confirmed(new)
        now = clock.monotonic()
        if not waiting or now >= min(given, deadline):
            break
        clock.sleep(min(pause, max(min(given, deadline) - now, 0.1)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    left = {id_ for batch in waiting.values() for id_ in batch}
    if clock.monotonic() >= given:
        result.failed.update(dict.fromkeys(left, f"no result within {settings.drain_timeout:g} s{trouble}"))
    else:
        result.unfinished.update(dict.fromkeys(left, f"the function's time ended while it was draining{trouble}"))
    return result


def _ask(ssm: Any, command: str, ids: Collection[str]) -> Iterator[tuple[str, Answer]]:
    """The answers of these hosts; SSM knows of a host a moment after the command."""
    pages = ssm.get_paginator("list_command_invocations").paginate(CommandId=command, Details=True)
    for invocation in (item for page in pages for item in page["CommandInvocations"]):
        if invocation["InstanceId"] in ids:
            plugins = invocation.get("CommandPlugins") or [{}]
            yield invocation["InstanceId"], _answer(invocation, str(plugins[-1].get("Output", "")))


def _answer(invocation: dict[str, Any], output: str) -> Answer:
    status = str(invocation.get("Status", ""))
    last = output.strip().splitlines()[-1][:200] if output.strip() else ""
    if status in _UNDER_WAY:
        return Answer(True, False, status)
    if status == "Success":
        return Answer(False, True, last or "confirmed")
    detail = str(invocation.get("StatusDetails") or status)
    return Answer(False, False, f"{detail}: {last}" if last else detail)
