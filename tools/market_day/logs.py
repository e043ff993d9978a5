"""Runs of the functions, as their logs tell them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from .cloud import FUNCTIONS, Cloud
from .record import Invocation

_REPORT = re.compile(r"REPORT RequestId: (\S+)\tDuration: ([\d.]+) ms")


class Logs:
    """
    :param since: seconds since the epoch, of the machine's clock; older runs are not read
    """

    def __init__(self, cloud: Cloud, since: float) -> None:
        self._cloud, self._client = cloud, cloud.client("logs")
        self._since = since
        self._known: set[str] = set()

    def read(self) -> list[Invocation]:
        """The runs that ended since the last time. A run's log comes at its end."""
        found = []
        for function in FUNCTIONS:
            group = f"/aws/lambda/{self._cloud.scope.name(function)}"
            streams: dict[str, list[dict[str, Any]]] = {}
            # A stream is one run. The time limit is the last ten minutes', so that a long show stays quick.
            pages = self._client.get_paginator("filter_log_events")
            for page in pages.paginate(logGroupName=group, startTime=int(self._since * 1000)):
                for event in page["events"]:
                    if event["logStreamName"] not in self._known:
                        streams.setdefault(event["logStreamName"], []).append(event)
            for name, events in streams.items():
                run = _run(function, events)
                if run is not None:
                    self._known.add(name)
                    found.append(run)
        return found


def _run(function: str, events: list[dict[str, Any]]) -> Invocation | None:
    """None for a log that is not whole yet. Times are of the machine's clock."""
    report = next((found for event in events if (found := _REPORT.match(event["message"]))), None)
    if report is None:
        return None
    end = max(event["timestamp"] for event in events) / 1000
    begin = end - float(report[2]) / 1000
    lines = [line for event in events if isinstance(line := _parsed(event["message"]), dict)]
    failed = any(line.get("message") == "Failed" for line in lines) or not lines
    return Invocation(function, begin, end, not failed, _said(lines), begin, report[1], lines)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _said(lines: list[dict[str, Any]]) -> str:
    """What the run came to, in a few words."""
    for line in lines:
        if line.get("message") == "Failed":
            return f"failed: {line.get('error')}"
    for line in lines:
        if line.get("message") == "Not today":
            return f"nothing to do: {line.get('reason')}"
        if line.get("message") in ("Shutdown ended", "Start checked"):
            return str(line.get("summary"))
    actions = Counter(str(line.get("action")) for line in lines if line.get("message") == "Server")
    if any(line.get("message") == "Fleet reconciled" for line in lines):
        return "servers: " + (", ".join(f"{number} {action}" for action, number in actions.items()) or "no change")
    hosts = [f"{line.get('action')}: {line.get('reason')}" for line in lines if line.get("message") == "Host"]
    return "; ".join(hosts) or str((lines[-1] if lines else {}).get("message", "no log"))
