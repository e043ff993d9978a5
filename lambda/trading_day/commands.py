# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sending one SSM document to hosts, many with one command, and waiting for each host's own answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from .hosts import in_batches

# SSM times out for a host that has not picked up the command by then; the minimum is 30.
_DELIVERY_TIMEOUT = 60
# Characters of a host's last line; the alert has one line for each host.
_SAID = 400
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
_UNDER_WAY = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


@dataclass(frozen=True)
class Command:
    """What hosts are sent: a document that takes no parameters.

    :param name: the document's.
    :param what: what it is in a sentence, such as ``drain``.
    :param timeout: seconds within which a host must answer.
    """

    name: str
    what: str
    comment: str
    timeout: float


@dataclass(frozen=True)
class Answer:
    """One host's state: whether it still works, whether it succeeded, what it printed."""

    under_way: bool
    succeeded: bool
    status: str
    output: str = ""

    @property
    def detail(self) -> str:
        """SSM's word, unless it succeeded, and the last line that was printed."""
        last = self.output.strip().splitlines()[-1] if self.output.strip() else ""
        # A host's sentence ends with what to do.
        last = last if len(last) <= _SAID else f"{last[: _SAID - 1]}…"
        if self.succeeded:
            return last or "confirmed"
        return f"{self.status}: {last}" if last else self.status


@dataclass
class Unanswered:
    """The hosts without a success: failed, or unknown when the time was over, with the reason."""

    failed: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)


def send(
    ssm: Any,
    command: Command,
    ids: Sequence[str],
    clock: Clock,
    deadline: float,
    succeeded: Callable[[Mapping[str, str]], None],
    told: Callable[[Answer], str] = lambda answer: answer.detail,
) -> Unanswered:
    """Send the command to each of these hosts once. What is unfinished at `deadline` may succeed later.

    :param succeeded: is given the hosts that succeeded, and what they said, as soon as they did.
    :param told: what is kept of an answer.
    """
    result = Unanswered()
    commands: dict[str, list[str]] = {}

    def give(batch: list[str]) -> None:
        response = ssm.send_command(
            InstanceIds=batch,
            DocumentName=command.name,
            Comment=command.comment,
            TimeoutSeconds=_DELIVERY_TIMEOUT,
            # SSM's defaults would go through the hosts in groups and give up on the rest after the first failure.
            MaxConcurrency="100%",
            MaxErrors="100%",
        )
        commands[response["Command"]["CommandId"]] = batch

    # Sending may be slow. What was sent must also be waited for, or the next invocation only repeats it.
    send_until = clock.monotonic() + (deadline - clock.monotonic()) / 2
    sent = in_batches(ids, give, lambda: clock.monotonic() < send_until)
    for id_, why in sent.failed.items():
        if id_ in sent.later:
            result.unfinished[id_] = f"the {command.what} was not sent: {why}"
        else:
            result.failed[id_] = f"SSM rejected the command: {why}"
    given = clock.monotonic() + command.timeout
    waiting = {number: set(batch) for number, batch in commands.items()}
    trouble = ""
    pause = _FIRST_PAUSE
    while True:
        new: dict[str, str] = {}
        for number, batch in list(waiting.items()):
            if clock.monotonic() >= deadline:
                break
            try:
                for id_, answer in _ask(ssm, number, frozenset(batch)):
                    if not answer.under_way:
                        (new if answer.succeeded else result.failed)[id_] = told(answer)
                        batch.discard(id_)
            except Exception as error:  # the next round asks again
                trouble = f"; SSM calls failed: {error}"
            if not batch:
                del waiting[number]
        if new:
            succeeded(new)
        now = clock.monotonic()
        if not waiting or now >= min(given, deadline):
            break
        clock.sleep(min(pause, max(min(given, deadline) - now, 0.1)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    left = {id_ for batch in waiting.values() for id_ in batch}
    if clock.monotonic() >= given:
        result.failed.update(dict.fromkeys(left, f"no result within {command.timeout:g} s{trouble}"))
    else:
        reason = f"the function's time ended before the {command.what} did{trouble}"
        result.unfinished.update(dict.fromkeys(left, reason))
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
    if status in _UNDER_WAY:
        return Answer(True, False, status)
    if status == "Success":
        return Answer(False, True, status, output)
    return Answer(False, False, str(invocation.get("StatusDetails") or status), output)
