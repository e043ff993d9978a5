# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Output of the functions: JSON log lines with metrics, and alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TextIO

from ansible_collections.algo.trading.plugins.module_utils._errors import from_aws
from ansible_collections.algo.trading.plugins.module_utils._naming import resource_name
from ansible_collections.algo.trading.plugins.module_utils.trading_day import Rule, Today

from .events import Request
from .settings import Settings

NAMESPACE = "AlgoTrading"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SUBJECT_LIMIT = 100
# SNS takes 256 KiB; nobody reads more than this in a mail.
_ALERT_LINES = 100


class Log:
    """Writes one JSON object per line."""

    def __init__(self, settings: Settings, stream: TextIO, request_id: str = "") -> None:
        self._least = _LEVELS.index(settings.log_level)
        self._stream = stream
        self._always = {
            "function": settings.function,
            "project": settings.project,
            "environment": settings.environment,
            "request_id": request_id,
            "run": request_id,
        }

    @property
    def run(self) -> str:
        """The id of the whole run: of its first invocation, also in those that Lambda or the function itself adds."""
        return self._always["run"]

    def belongs_to(self, run: str) -> None:
        """This invocation continues a run."""
        self._always["run"] = run

    def info(self, message: str, **fields: Any) -> None:
        self._write("INFO", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("WARNING", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("ERROR", message, fields)

    def metrics(self, timestamp: float, values: Mapping[str, float]) -> None:
        """Counts that CloudWatch picks out of the log by itself (embedded metric format)."""
        dimensions = {
            "Project": self._always["project"],
            "Environment": self._always["environment"],
            "Function": self._always["function"],
        }
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name, "Unit": "Count"} for name in values],
        }
        self._line(
            {"_aws": {"Timestamp": int(timestamp * 1000), "CloudWatchMetrics": [directive]}, **dimensions, **values}
        )

    def _write(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        if _LEVELS.index(level) >= self._least:
            self._line({"level": level, "message": message, **self._always, **fields})

    def _line(self, content: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(content, default=str) + "\n")
        self._stream.flush()


def completed_metric(action: str) -> str:
    """Counts scheduled events that were carried out; the role aws_lambda sets an alarm on it."""
    return f"{action.capitalize()}Completed"


def alert(sns: Callable[[], Any], settings: Settings, log: Log, what: str, lines: list[str]) -> None:
    """Publish an alert. An unreachable topic is an error, raised after everything else is done."""
    log.warning(what, alert=True, details=len(lines))
    if not settings.alert_topic_arn:
        return
    subject = f"{settings.project} {settings.environment}: {what}"
    shown = lines[:_ALERT_LINES]
    more = [f"… and {len(lines) - len(shown)} more, see the log of {settings.function}"] if lines[_ALERT_LINES:] else []
    try:
        sns().publish(
            TopicArn=settings.alert_topic_arn,
            Subject=subject.encode("ascii", "replace").decode()[:_SUBJECT_LIMIT],
            Message="\n".join([subject, "", *shown, *more, *_where(settings, log)]),
        )
    except Exception as error:
        raise from_aws(f"alert {settings.alert_topic_arn} about: {what}", error) from error


def _where(settings: Settings, log: Log) -> list[str]:
    """Where the whole run is told."""
    if not log.run:
        return []
    group = f"/aws/lambda/{resource_name(settings.project, settings.function, settings.environment)}"
    return [
        "",
        f"Log: aws logs filter-log-events --log-group-name {group} --filter-pattern '{{ $.run = \"{log.run}\" }}'",
    ]


def today(
    sns: Callable[[], Any], settings: Settings, log: Log, request: Request, now: datetime, rule: Rule, undone: str
) -> Today:
    """Whether to act on an event now, by its age and by the calendar; people are told where they must know.

    :param undone: what the alert says of an event that is too old or too early.
    """
    if late := request.why_not(now, settings.max_event_age):
        alert(sns, settings, log, undone, [late])
        return Today(False, late, alert=True)
    found = rule(settings.calendar, request.scheduled)
    _tell(sns, settings, log, found)
    return found


def _tell(sns: Callable[[], Any], settings: Settings, log: Log, today: Today) -> None:
    """Log why a scheduled event does nothing today, and alert where the calendar does not say.

    An unreachable topic does not keep the function from its work.
    """
    if not today.alert:
        if not today.act:
            log.info("Not today", reason=today.reason)
        return
    try:
        alert(sns, settings, log, "Calendar ended" if today.act else "Calendar ended, nothing done", [today.reason])
    except Exception as error:
        if not today.act:
            raise
        log.error("Alert failed", error=str(error), details=today.reason)
