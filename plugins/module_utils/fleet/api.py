# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EC2 calls of the fleet, one function each: paced, retried, counted, with classified errors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .errors import (
    NOT_READY,
    RETRYABLE,
    SLOW_TO_APPEAR,
    THROTTLED,
    FatalError,
    classify,
    partial_errors,
)
from .instances import Instance
from .pacing import Clock, Pacer

# A throttled request is repeated until the run's time is over; anything else that may pass, a few times.
_ATTEMPTS = 6
# A new instance may be unknown to other parts of EC2 for longer than a request fails.
_PATIENT_ATTEMPTS = 10
_PAGE = 1000
_STATUS_IDS = 100
_TOO_LATE = "The run timed out. Run again: it continues where this one ended."


class DeadlineError(FatalError):
    """The run's time is over."""


class Ec2Api:
    """Calls for one fleet. `client` is a boto3 EC2 client whose own retries are switched off."""

    def __init__(self, client: Any, pacer: Pacer, clock: Clock, *, deadline: float | None = None) -> None:
        self._client = client
        self._pacer = pacer
        self._clock = clock
        self._deadline = deadline
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def describe_servers(self) -> list[Instance]:
        """Every instance of the region: one page per thousand.

        Not asked for by tags: an instance whose tags were edited by hand has to be seen as well, and so has one that
        something else made for a model. Ended ones are part of the answer for about an hour, and say why they ended.
        Whose an instance is decides ownership.py.
        """
        return list(self._pages("describe_instances", MaxResults=_PAGE))

    def describe_ids(self, ids: Sequence[str]) -> list[Instance]:
        """These instances, ended ones too. An id that EC2 does not know (yet) is left out, and so is whatever an
        endpoint returns that ignores the filter."""
        found: list[Instance] = []
        for chunk in chunks(ids, 200):
            filters = [{"Name": "instance-id", "Values": list(chunk)}]
            answer = self._pages("describe_instances", Filters=filters, MaxResults=_PAGE)
            found += [item for item in answer if item.id in chunk]
        return found

    def unhealthy(self, ids: Sequence[str]) -> dict[str, str]:
        """The instances whose status checks have not passed (yet), with what they say."""
        answers: dict[str, str] = {}
        for chunk in chunks(ids, _STATUS_IDS):
            response = self._call("describe_instance_status", InstanceIds=list(chunk), IncludeAllInstances=True)
            for item in response.get("InstanceStatuses", []):
                checks = {item["InstanceStatus"]["Status"], item["SystemStatus"]["Status"]}
                if checks == {"ok"}:
                    answers[item["InstanceId"]] = ""
                else:
                    answers[item["InstanceId"]] = "status checks: " + ", ".join(sorted(checks))
        return {id_: answers.get(id_, "no status yet") for id_ in ids if answers.get(id_, "no status yet")}

    def run_instances(self, parameters: Mapping[str, Any], token: str) -> list[Instance]:
        """Launch. The token makes a repetition return the same instances instead of new ones."""
        response = self._call(
            "run_instances", _resources=int(parameters["MaxCount"]), **dict(parameters), ClientToken=token
        )
        instances = [Instance.from_api(item) for item in response.get("Instances", [])]
        hidden = partial_errors("RunInstances", response)
        if hidden and not instances:
            raise hidden[0][1]
        return instances

    def create_tags(self, ids: Sequence[str], tags: Mapping[str, str]) -> None:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        # A new instance may not be known everywhere for some seconds.
        self._call("create_tags", _patient=True, Resources=list(ids), Tags=pairs)

    def start(self, ids: Sequence[str]) -> None:
        self._call("start_instances", _resources=len(ids), InstanceIds=list(ids))

    def stop(self, ids: Sequence[str]) -> None:
        self._call("stop_instances", _resources=len(ids), InstanceIds=list(ids))

    def reboot(self, ids: Sequence[str]) -> None:
        self._call("reboot_instances", InstanceIds=list(ids))

    def terminate(self, ids: Sequence[str]) -> None:
        self._call("terminate_instances", _resources=len(ids), InstanceIds=list(ids))

    def modify(self, id_: str, attribute: str, value: str) -> None:
        """Change one attribute of a stopped instance."""
        blob: Any = value.encode() if attribute == "UserData" else value
        parameters: dict[str, Any] = {attribute: {"Value": blob}}
        self._call("modify_instance_attribute", InstanceId=id_, **parameters)

    def check_deadline(self) -> None:
        if self._deadline is not None and self._clock.monotonic() >= self._deadline:
            raise DeadlineError(_TOO_LATE)

    def _pages(self, method: str, **parameters: Any) -> Iterator[Instance]:
        while True:
            response = self._call(method, **parameters)
            for reservation in response.get("Reservations", []):
                for item in reservation.get("Instances", []):
                    yield Instance.from_api(item)
            if not response.get("NextToken"):
                return
            parameters["NextToken"] = response["NextToken"]

    def _call(
        self, method: str, *, _resources: int = 0, _patient: bool = False, **parameters: Any
    ) -> Mapping[str, Any]:
        operation = "".join(part.capitalize() for part in method.split("_"))
        call: Callable[..., Mapping[str, Any]] = getattr(self._client, method)
        attempt = 0
        while True:
            self.check_deadline()
            if not self._pacer.acquire(operation, _resources, self._deadline):
                raise DeadlineError(_TOO_LATE)
            with self._lock:
                self.calls[operation] += 1
            try:
                response = call(**parameters)
            except Exception as exc:  # classified, and raised again as what it means
                error = classify(operation, exc)
                with self._lock:
                    self.refusals[error.kind] += 1
                again = (
                    error.kind in RETRYABLE or error.kind == NOT_READY or (_patient and error.kind in SLOW_TO_APPEAR)
                )
                most = _PATIENT_ATTEMPTS if error.kind in SLOW_TO_APPEAR else _ATTEMPTS
                if not again or (error.kind != THROTTLED and attempt >= most - 1):
                    raise error from exc
                if error.kind == THROTTLED:
                    self._pacer.refused(operation)
                    if self._deadline is None and attempt >= 4 * _ATTEMPTS:
                        raise error from exc
                self._pacer.back_off(attempt)
                attempt += 1
                continue
            self._pacer.accepted(operation)
            return response


def chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
