"""The environment that is watched: its AWS, the embedded AWS's own controls, and its hosts where there are some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import boto3
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, read_calendar
from botocore.config import Config
from embedded_aws import manager

FUNCTIONS = ("alpaca_websocket", "trading_server", "trading_server_shutdown")
REGION = "us-east-1"
_LONGEST_SHUTDOWN = 930
_LONGEST_ANSWER = 120  # seconds; a command on a host


class CloudError(Exception):
    """The embedded AWS cannot do what it was asked for."""


@dataclass(frozen=True)
class Moment:
    """The embedded AWS's clock: what it showed when the machine's had ``real``."""

    real: float
    shown: float
    rate: float


@dataclass(frozen=True)
class Instance:
    id: str
    component: str
    model: str
    state: str

    @property
    def name(self) -> str:
        return self.model or self.component


class Cloud:
    """
    :param endpoint: of the embedded AWS
    :param environment: the environment in it
    """

    def __init__(self, endpoint: str, environment: str = "local", project: str = "algo-trading") -> None:
        self.endpoint, self.scope = endpoint, Scope(project, environment, REGION)

    def client(self, service: str, seconds: float = 60) -> Any:
        make: Any = boto3.session.Session("testing", "testing", region_name=REGION).client
        # A function is run once, however long it takes.
        config = Config(proxies={}, read_timeout=seconds, retries={"total_max_attempts": 1})
        return make(service, endpoint_url=self.endpoint, config=config)

    @cached_property
    def ec2(self) -> Any:
        return self.client("ec2")

    @cached_property
    def functions(self) -> Any:
        return self.client("lambda", _LONGEST_SHUTDOWN)

    @cached_property
    def hosts(self) -> bool:
        """Whether instances are Linux hosts."""
        try:
            self.control("inside")
        except CloudError:
            return False
        return True

    def control(self, name: str, method: str = "GET", **given: Any) -> Any:
        return self._control(name, method, given, _LONGEST_ANSWER)

    def _control(self, name: str, method: str, given: dict[str, Any], seconds: float) -> Any:
        try:
            return manager.control(self.endpoint, name, method, given, timeout=seconds)
        except manager.EmbeddedAwsError as error:
            raise CloudError(str(error)) from error
        except TimeoutError as error:
            raise CloudError(f"no answer within {seconds:g} s") from error

    def execute(self, instance: str, script: str, seconds: float = _LONGEST_ANSWER) -> str:
        """Run a shell script as root on a host.

        :param seconds: the script is ended after so long, and a host as a whole given up a little later
        """
        command = ["timeout", f"{seconds:g}", "sh", "-c", script]
        given = {"instance": instance, "command": command}
        return str(self._control("hosts", "POST", given, seconds + 5)["output"])

    def instances(self) -> list[Instance]:
        tags = {"Project": self.scope.project, "Environment": self.scope.environment}
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
        found = []
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for entry in (one for group in page["Reservations"] for one in group["Instances"]):
                own = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
                state = entry["State"]["Name"]
                if state != "terminated":
                    instance = Instance(entry["InstanceId"], own.get("Component", ""), own.get("Model", ""), state)
                    found.append(instance)
        return sorted(found, key=lambda each: (each.component == "trading_server", each.name))

    def invoke(self, function: str, **event: Any) -> dict[str, Any]:
        """Run a function by hand and wait for it."""
        answer = self.functions.invoke(FunctionName=self.scope.name(function), Payload=json.dumps(event))
        payload = json.load(answer["Payload"])
        if answer.get("FunctionError"):
            raise CloudError(f"{function} failed: {payload.get('errorMessage', payload)}")
        return dict(payload)

    def calendar(self) -> Calendar:
        """The calendar that the functions have."""
        found = self.functions.get_function_configuration(FunctionName=self.scope.name("trading_server_shutdown"))
        return read_calendar(json.loads(found["Environment"]["Variables"].get("CALENDAR") or "{}"))

    def topics(self) -> list[str]:
        """Where the functions send alerts."""
        found = (
            self.functions.get_function_configuration(FunctionName=self.scope.name(name))["Environment"]["Variables"]
            for name in FUNCTIONS
        )
        return sorted({topic for variables in found if (topic := variables.get("ALERT_TOPIC_ARN"))})


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
