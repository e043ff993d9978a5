"""The states of an SSM command and of its invocation on each host. Plain data and decisions, no threads."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

from .documents import Step

_DELIVERY_SECONDS = 3600
_OFFERED_AGAIN = 2.0
_SHOWN = 24_000  # characters of output in GetCommandInvocation
_LISTED = 2500  # and in ListCommandInvocations
_ENDED = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})
_ERRORS = frozenset({"Failed", "TimedOut"})


class Invocation:
    """A command on one host."""

    def __init__(self, command: Command, instance: str) -> None:
        self.command, self.instance = command, instance
        self.status, self.details = "Pending", "Pending"
        self.due = False  # may be delivered
        self.offered = 0.0
        self.requested = time.time()
        self.started = 0.0
        self.results: list[dict[str, Any]] = []

    @property
    def ended(self) -> bool:
        return self.status in _ENDED

    def pretend(self, failing: bool) -> None:
        """Be done without a host."""
        now = time.time()
        status = "Failed" if failing else "Success"
        self.results = [
            {
                "Name": step.name,
                "Status": status,
                "ResponseCode": int(failing),
                "Output": "",
                "Error": "made to fail by /_algo/commands" if failing else "",
                "Start": now,
                "End": now,
            }
            for step in self.command.steps
        ]
        self.end(status)

    def end(self, status: str, details: str = "") -> None:
        self.status, self.details, self.due = status, details or status, False

    def message(self, now: float) -> str:
        """What the host is to be told now: `run`, `cancel`, or nothing.

        It is told again until it has acknowledged: the connection that took the message may have been dead.
        """
        kind = "run" if self.due else "cancel" if self.status == "Cancelling" else ""
        if not kind or now - self.offered < _OFFERED_AGAIN:
            return ""
        self.offered = now
        return kind

    def acknowledge(self) -> None:
        if self.due:
            self.due, self.started = False, time.time()
            self.status = self.details = "InProgress"

    def report(self, results: list[dict[str, Any]], final: bool) -> None:
        """Note what the agent says."""
        if self.ended:  # it came too late
            return
        self.acknowledge()
        self.results = results
        if not final:
            return
        worst = next((each["Status"] for each in results if each["Status"] != "Success"), "Success")
        if worst == "TimedOut":
            self.end("TimedOut", "ExecutionTimedOut")
        elif self.status == "Cancelling":
            self.end("Cancelled")
        else:
            self.end(worst)

    def cancel(self) -> None:
        if self.status == "Pending":
            self.end("Cancelled")
        elif self.status == "InProgress":
            self.status = self.details = "Cancelling"
            self.offered = 0.0

    def expire(self, now: float) -> None:
        """Let the time limits act: a host that is gone does not report."""
        if self.status == "Pending" and now - self.requested > self.command.delivery_seconds:
            self.end("TimedOut", "DeliveryTimedOut")
        longest = sum(step.timeout for step in self.command.steps) + self.command.delivery_seconds
        if self.status in ("InProgress", "Cancelling") and now - self.started > longest:
            self.end("TimedOut", "ExecutionTimedOut")

    def _plugin(self, step: Step, listed: bool) -> dict[str, Any]:
        result = next((each for each in self.results if each["Name"] == step.name), {})
        output = str(result.get("Output", ""))
        if result.get("Error"):
            output += f"\n----------ERROR-------\n{result['Error']}"
        status = str(result.get("Status") or ("InProgress" if not self.ended else self.status))
        times = {"ResponseStartDateTime": result.get("Start"), "ResponseFinishDateTime": result.get("End")}
        return {
            "Name": step.name,
            "Status": status,
            "StatusDetails": "ExecutionTimedOut" if status == "TimedOut" else status,
            "ResponseCode": int(result.get("ResponseCode", -1)),
            "Output": output[:_LISTED] if listed else output,
            **{name: at for name, at in times.items() if at},
        }

    def listed(self, details: bool) -> dict[str, Any]:
        """As ListCommandInvocations answers."""
        given = self.command.given
        return {
            "CommandId": self.command.id,
            "InstanceId": self.instance,
            "InstanceName": "",
            "Comment": given.get("Comment", ""),
            "DocumentName": given["DocumentName"],
            "DocumentVersion": given.get("DocumentVersion", "$DEFAULT"),
            "RequestedDateTime": self.requested,
            "Status": self.status,
            "StatusDetails": self.details,
            "CommandPlugins": [self._plugin(step, True) for step in self.command.steps] if details else [],
        }

    def shown(self, plugin: str | None) -> dict[str, Any] | None:
        """As GetCommandInvocation answers; None for a step that does not exist."""
        names = [step.name for step in self.command.steps]
        if plugin is not None and plugin not in names:
            return None
        done = [each for each in self.results if plugin in (None, each["Name"])]
        last = done[-1] if done else {}
        began, ended = last.get("Start"), last.get("End")
        return {
            "CommandId": self.command.id,
            "InstanceId": self.instance,
            "Comment": self.command.given.get("Comment", ""),
            "DocumentName": self.command.given["DocumentName"],
            "DocumentVersion": self.command.given.get("DocumentVersion", "$DEFAULT"),
            "PluginName": plugin or (last.get("Name") or names[0]),
            "ResponseCode": int(last.get("ResponseCode", -1)),
            "ExecutionStartDateTime": _iso(began) if began else "",
            "ExecutionElapsedTime": f"PT{ended - began:.3f}S" if began and ended else "",
            "ExecutionEndDateTime": _iso(ended) if ended else "",
            "Status": self.status,
            "StatusDetails": self.details,
            "StandardOutputContent": str(last.get("Output", ""))[:_SHOWN],
            "StandardOutputUrl": "",
            "StandardErrorContent": str(last.get("Error", ""))[:_SHOWN],
            "StandardErrorUrl": "",
        }


class Command:
    """A command to several hosts.

    :param given: the request's parameters
    """

    def __init__(self, id_: str, region: str, given: dict[str, Any], steps: list[Step], instances: list[str]) -> None:
        self.id, self.region, self.given, self.steps = id_, region, given, steps
        self.requested = time.time()
        self.delivery_seconds = float(given.get("TimeoutSeconds") or _DELIVERY_SECONDS)
        self.invocations = [Invocation(self, id_) for id_ in instances]
        self._concurrent = max(1, _share(given.get("MaxConcurrency") or "50", len(instances)))
        self._errors = _share(given.get("MaxErrors") or "0", len(instances))
        self.cancelled = False

    def of(self, instance: str) -> Invocation | None:
        return next((each for each in self.invocations if each.instance == instance), None)

    def cancel(self, instances: list[str]) -> None:
        self.cancelled = self.cancelled or not instances
        for each in self.invocations:
            if not instances or each.instance in instances:
                each.cancel()

    def advance(self, now: float) -> None:
        """Expire what is late, stop after too many errors, let the next ones go."""
        for each in self.invocations:
            if not each.ended:
                each.expire(now)
        waiting = [each for each in self.invocations if each.status == "Pending" and not each.due]
        if self._failed():
            for each in waiting:
                each.end("Cancelled", "Terminated")
            return
        under_way = sum(each.due or each.status in ("InProgress", "Cancelling") for each in self.invocations)
        for each in waiting[: max(0, self._concurrent - under_way)]:
            each.due = True

    def _failed(self) -> bool:
        return sum(each.status in _ERRORS for each in self.invocations) > self._errors

    def _status(self) -> tuple[str, str]:
        states = {each.status for each in self.invocations}
        if not self.invocations:
            return "Success", "NoInstancesInTag"
        if not states <= _ENDED:
            if self.cancelled:
                return "Cancelling", "Cancelling"
            return ("Pending", "Pending") if states == {"Pending"} else ("InProgress", "InProgress")
        if self.cancelled and states & {"Cancelled"}:
            return "Cancelled", "Cancelled"
        if states & _ERRORS:
            if not self._failed():
                return "Success", "Incomplete"
            timed_out = {each.details for each in self.invocations if each.status == "TimedOut"}
            return ("TimedOut", timed_out.pop()) if states & _ERRORS == {"TimedOut"} else ("Failed", "Failed")
        return "Success", "Success"

    def described(self) -> dict[str, Any]:
        """As SendCommand and ListCommands answer."""
        status, details = self._status()
        return {
            "CommandId": self.id,
            "DocumentName": self.given["DocumentName"],
            "DocumentVersion": self.given.get("DocumentVersion", "$DEFAULT"),
            "Comment": self.given.get("Comment", ""),
            "ExpiresAfter": self.requested + self.delivery_seconds,
            "Parameters": self.given.get("Parameters") or {},
            "InstanceIds": self.given.get("InstanceIds") or [],
            "Targets": self.given.get("Targets") or [],
            "RequestedDateTime": self.requested,
            "Status": status,
            "StatusDetails": details,
            "MaxConcurrency": self.given.get("MaxConcurrency", "50"),
            "MaxErrors": self.given.get("MaxErrors", "0"),
            "TargetCount": len(self.invocations),
            "CompletedCount": sum(each.ended for each in self.invocations),
            "ErrorCount": sum(each.status == "Failed" for each in self.invocations),
            "DeliveryTimedOutCount": sum(each.details == "DeliveryTimedOut" for each in self.invocations),
            "TimeoutSeconds": int(self.delivery_seconds),
        }


def _share(text: str, whole: int) -> int:
    """`10` or `10%` of the targets.

    :raises ValueError: for anything else
    """
    if not re.fullmatch(r"[0-9]{1,7}|(100|[0-9]{1,2})%", text):
        raise ValueError(f"{text} is no number and no percentage")
    return int(int(text.rstrip("%")) * whole / 100) if text.endswith("%") else int(text)


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
