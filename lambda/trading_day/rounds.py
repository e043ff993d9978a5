# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rounds of a shutdown: ask to drain, stop what confirmed, look again, until nothing is left or time is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from . import hosts, report
from .drain import drain
from .hosts import Host, Running
from .parameters import Protection
from .results import (
    FORCED,
    OPEN,
    STOP_ORDERED,
    STOPPED,
    STUCK,
    TERMINATED,
    UNFINISHED,
    HostResult,
    failed_outcome,
    look_again,
)
from .settings import OnDrainFailure, ShutdownSettings

# Between two attempts, so that a broker or a network that is away for a moment is not asked twice in it.
_PAUSE = 15.0
# Rounds above the attempts of one host, for hosts that appear meanwhile and for requests that AWS throttles.
_MORE_ROUNDS = 3
# What an attempt takes besides the drain: sending, stopping, looking.
_AROUND = 60.0
# EC2's descriptions lag, so a stop gets a few seconds to show. Then the order is given again.
_CHECK_DELAYS = (2.0, 4.0, 8.0, 0.0)


@dataclass
class Rounds:
    """One shutdown's work and its results, by instance."""

    settings: ShutdownSettings
    ec2: Any
    ssm: Any
    clock: Clock
    log: report.Log
    look: Callable[[], Running]
    protection: Protection
    deadline: float
    tags: Mapping[str, str]
    results: dict[str, HostResult] = field(default_factory=dict)
    blind: str = ""
    """Why the results could not be compared with what runs now."""
    _noted: set[str] = field(default_factory=set)

    def expect(self, found: Sequence[Host], attempts: Mapping[str, int]) -> None:
        """Begin with these hosts, some of which an earlier invocation has asked already."""
        for host in found:
            before = attempts.get(host.id, 0)
            reason = f"did not confirm its drain in {before} attempts of earlier invocations" if before else ""
            self.results[host.id] = HostResult(host, UNFINISHED, reason or "drain not requested yet", before)

    def run(self) -> dict[str, HostResult]:
        """Every host to its end, as far as the time allows."""
        for number in range(self.settings.drain_attempts + _MORE_ROUNDS):
            todo = self._todo()
            if not todo or not self._time_for_another(number):
                break
            self.log.info("Draining", hosts=len(todo), round=number + 1)
            self._note(todo)
            self._drain(todo)
            self._check()
        self._apply_policy()
        return self.results

    def _in_time(self) -> bool:
        return self.clock.monotonic() < self.deadline

    def _todo(self) -> list[str]:
        limit = self.settings.drain_attempts
        return sorted(id_ for id_, r in self.results.items() if r.outcome in OPEN and r.attempts < limit)

    def _time_for_another(self, number: int) -> bool:
        """The first round gets what time there is; a later one only begins if it can end."""
        if number == 0:
            return self._in_time()
        if self.clock.monotonic() + _PAUSE + self.settings.drain_timeout + _AROUND > self.deadline:
            return False
        self.clock.sleep(_PAUSE)
        return True

    def _note(self, ids: Sequence[str]) -> None:
        new = [id_ for id_ in ids if id_ not in self._noted]
        noted = hosts.note_drain(self.ec2, new, self.clock.now(), in_time=self._in_time)
        self._noted.update(ids)
        # Not a reason to keep positions: drain the hosts anyway.
        for id_, why in noted.failed.items():
            self.log.warning("Drain tag not written on the host", instance_id=id_, reason=why)

    def _drain(self, ids: Sequence[str]) -> None:
        ended = drain(self.ssm, self.settings, ids, self.clock, self.deadline, self._confirmed)
        limit = self.settings.drain_attempts
        checks = hosts.checks(self.ec2, sorted(ended.failed))
        unhealthy = checks.impaired | checks.unknown
        for id_, why in ended.failed.items():
            attempt = self.results[id_].attempts + 1
            reason = f"{why} (attempt {attempt} of {limit})" + (f"; {unhealthy[id_]}" if id_ in unhealthy else "")
            self.results[id_] = replace(self.results[id_], outcome=UNFINISHED, reason=reason, attempts=attempt)
        for id_, why in ended.unfinished.items():
            self.results[id_] = replace(self.results[id_], outcome=UNFINISHED, reason=why)

    def _confirmed(self, said: Mapping[str, str]) -> None:
        """Stop hosts as they confirm, not after the slowest: if this invocation ends early, these are done."""
        for id_, detail in said.items():
            before = self.results[id_]
            reason = f"drained: {detail}"
            self.results[id_] = replace(before, reason=reason, attempts=before.attempts + 1, drained=True)
        self._stop(list(said))

    def _stop(self, ids: Sequence[str]) -> None:
        which = [self.results[id_].host for id_ in sorted(ids)]
        told = hosts.stop_or_end(self.ec2, which, self.protection.why_not_end, self._in_time)
        for host in which:
            result = self.results[host.id]
            if refused := told.failed.get(host.id):
                outcome = UNFINISHED if host.id in told.later else STUCK
                reason = f"{result.reason}, but could not be stopped: {refused}"
                # What was only throttled is asked again, and confirms at once that it is drained.
                attempts = result.attempts - (outcome == UNFINISHED)
                self.results[host.id] = replace(result, outcome=outcome, reason=reason, attempts=attempts)
            elif host.id in told.ended:
                reason = f"{result.reason}; one-time spot instance, terminated; the next start launches a new one"
                self.results[host.id] = replace(result, outcome=TERMINATED, reason=reason)
            else:
                self.results[host.id] = replace(result, outcome=STOPPED if result.drained else FORCED)

    def _check(self) -> None:
        """Describe the hosts again, and give the order to stop again to those that still run."""
        ordered = {id_: r for id_, r in self.results.items() if r.outcome in (*STOP_ORDERED, STUCK)}
        for pause in _CHECK_DELAYS:
            try:
                self.results = look_again(self.results, self.look(), self.tags)
            except AlgoTradingError as error:
                # What was done must be told. The next invocation looks again.
                self.blind = str(error)
                self.log.warning("EC2 not asked again", error=self.blind)
                return
            self.blind = ""
            stuck = [id_ for id_ in ordered if self.results[id_].outcome == STUCK]
            if not stuck or self.clock.monotonic() + pause >= self.deadline or not pause:
                return
            self.clock.sleep(pause)
            for id_ in stuck:  # with the reason of the first order, not one for each time
                self.results[id_] = replace(self.results[id_], reason=_first_reason(ordered[id_]))
            self._stop(stuck)

    def _apply_policy(self) -> None:
        """What had all its attempts: leave it running, or stop it all the same."""
        limit = self.settings.drain_attempts
        failed = [id_ for id_, r in self.results.items() if r.outcome == UNFINISHED and r.attempts >= limit]
        for id_ in failed:
            outcome = failed_outcome(self.settings.on_drain_failure)
            self.results[id_] = replace(self.results[id_], outcome=outcome)
        if failed and self.settings.on_drain_failure is OnDrainFailure.STOP:
            self._stop(failed)
            self._check()


def _first_reason(result: HostResult) -> str:
    return result.reason.partition(", but could not be stopped")[0]
