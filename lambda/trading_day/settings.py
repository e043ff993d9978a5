# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of a function from its environment variables, as one frozen, typed value.

All functions: PROJECT, ENVIRONMENT (required), LOG_LEVEL, MAX_EVENT_AGE, ALERT_TOPIC_ARN, CALENDAR.
trading_server_shutdown: ALERT_TOPIC_ARN (required), DRAIN_DOCUMENT, DRAIN_TIMEOUT, DRAIN_ATTEMPTS,
ON_DRAIN_FAILURE.

../README.md has their meaning and defaults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils._naming import NEW_MODELS, parameter_path, resource_name
from ansible_collections.algo.trading.plugins.module_utils._tags import identity_tags
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, read_calendar

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,31}$")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class OnDrainFailure(StrEnum):
    """What to do with a host that does not confirm its drain."""

    KEEP = "keep"
    STOP = "stop"


@dataclass(frozen=True)
class Settings:
    """Settings of all functions."""

    function: str
    project: str
    environment: str
    log_level: str = "INFO"
    max_event_age: float = 3600.0
    alert_topic_arn: str = ""
    calendar: Calendar = field(default_factory=Calendar)

    @property
    def status_document(self) -> str:
        """The only SSM document that the check before the open may run."""
        return resource_name(self.project, "trading_server", self.environment, "status")

    @property
    def new_models_queue(self) -> str:
        """The only queue whose messages count."""
        return resource_name(self.project, "trading_server", self.environment, NEW_MODELS)

    def tags(self, component: str) -> dict[str, str]:
        """The tags that make an instance ours. Nothing without all of them is ever touched."""
        return identity_tags(self.project, self.environment, component)

    def parameter(self, name: str) -> str:
        return parameter_path(self.project, self.environment, name)

    @classmethod
    def from_env(cls, function: str, env: Mapping[str, str]) -> Settings:
        reader = _Reader(env)
        settings = _common(function, reader)
        reader.done()
        return settings


@dataclass(frozen=True)
class ShutdownSettings(Settings):
    """Further settings of `trading_server_shutdown`."""

    drain_document: str = ""
    drain_timeout: float = 300.0
    drain_attempts: int = 2
    on_drain_failure: OnDrainFailure = OnDrainFailure.KEEP

    @classmethod
    def from_env(cls, function: str, env: Mapping[str, str]) -> ShutdownSettings:
        reader = _Reader(env)
        common = _common(function, reader)
        if not common.alert_topic_arn:
            reader.problems.append("ALERT_TOPIC_ARN is required, so that a host left running raises an alert")
        default = resource_name(common.project, "trading_server", common.environment, "drain")
        settings = cls(
            **vars(common),
            drain_document=reader.text("DRAIN_DOCUMENT", default),
            drain_timeout=reader.number("DRAIN_TIMEOUT", 300, least=1),
            drain_attempts=int(reader.number("DRAIN_ATTEMPTS", 2, least=1)),
            on_drain_failure=OnDrainFailure(reader.choice("ON_DRAIN_FAILURE", "keep", tuple(OnDrainFailure))),
        )
        reader.done()
        return settings


class _Reader:
    """Reads an environment and collects every mistake in it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        value = self._env.get(name, "").strip()
        if value:
            return value
        if default is None:
            self.problems.append(f"{name} is required")
        return default or ""

    def name(self, name: str) -> str:
        value = self.text(name)
        if value and not _NAME.match(value):
            self.problems.append(f"{name} must be lower-case letters, digits and hyphens, not {value!r}")
        return value

    def number(self, name: str, default: float, *, least: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = least - 1
        if value < least:
            self.problems.append(f"{name} must be a number of at least {least:g}, not {text!r}")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            self.problems.append(f"{name} must be one of {', '.join(choices)}, not {value!r}")
            return default
        return value

    def calendar(self) -> Calendar:
        text = self.text("CALENDAR", "{}")
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            self.problems.append(f"CALENDAR must be a JSON object, not {text!r}")
            return Calendar()
        try:
            return read_calendar(values)
        except InvalidInput as error:
            self.problems.append(f"CALENDAR: {error.problem}")
            return Calendar()

    def done(self) -> None:
        if self.problems:
            raise InvalidInput(
                f"The function's environment is not usable: {'; '.join(self.problems)}",
                remedy="Correct its environment variables; lambda/README.md explains them",
            )


def _common(function: str, reader: _Reader) -> Settings:
    return Settings(
        function=function,
        project=reader.name("PROJECT"),
        environment=reader.name("ENVIRONMENT"),
        log_level=reader.choice("LOG_LEVEL", "INFO", _LEVELS),
        max_event_age=reader.number("MAX_EVENT_AGE", 3600, least=1),
        alert_topic_arn=reader.text("ALERT_TOPIC_ARN", ""),
        calendar=reader.calendar(),
    )
