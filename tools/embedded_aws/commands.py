"""SSM commands: sent to hosts' agents and followed, or, where instances are records, successful at once.

https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from . import account, documents
from .invocations import Command
from .recording import Answer, Request

_LONGEST_POLL = 10.0
_ONLINE_SECONDS = 30.0
_PAGE = 50
_MOST_IDS = 50


class _RefusedError(Exception):
    """An error of the API."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def _invalid(error: Exception) -> _RefusedError:
    """A request that says something that cannot be."""
    return _RefusedError("ValidationException", f"1 validation error detected: {error!r}")


class Commands:
    """Answers for SSM's commands and for the agents of hosts.

    :param moto: held while moto's tables are looked at
    :param agents: whether instances are hosts with agents
    """

    def __init__(self, moto: AbstractContextManager[Any], agents: bool) -> None:
        self._moto, self._agents = moto, agents
        self._commands: dict[str, Command] = {}
        self._failing: set[str] = set()
        self._pings: dict[str, tuple[float, dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._operations: dict[tuple[str, str], Callable[[Request, dict[str, Any]], Any]] = {
            ("ssm", "SendCommand"): self._send,
            ("ssm", "CancelCommand"): self._cancel,
            ("ssm", "ListCommands"): self._list,
            ("ssm", "ListCommandInvocations"): self._list_invocations,
            ("ssm", "GetCommandInvocation"): self._get,
            ("ssm", "DescribeInstanceInformation"): self._information,
            ("ssm", "UpdateInstanceInformation"): self._ping,
            ("ec2messages", "GetMessages"): self._messages,
            ("ec2messages", "AcknowledgeMessage"): self._acknowledge,
            ("ec2messages", "SendReply"): self._reply,
        }

    def __call__(self, request: Request) -> Answer | None:
        operation = self._operations.get((request.service, request.operation))
        if operation is None:
            return None
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        try:
            return Answer("200 OK", headers, json.dumps(operation(request, json.loads(request.body or b"{}"))).encode())
        except (_RefusedError, KeyError, TypeError, ValueError) as problem:
            error = problem if isinstance(problem, _RefusedError) else _invalid(problem)
            body = json.dumps({"__type": error.code, "message": str(error)})
            return Answer("400 Bad Request", {**headers, "x-amzn-ErrorType": error.code}, body.encode())

    def forget(self) -> None:
        """Forget all commands and agents: the account was reset."""
        with self._changed:
            self._commands.clear()
            self._failing.clear()
            self._pings.clear()
            self._changed.notify_all()

    def control(self, method: str, given: dict[str, Any]) -> Any:
        """PUT ``fail``: instances without a host on which commands end with exit status 1. GET shows them.

        :raises ValueError: where instances are hosts: break something there instead
        """
        if method == "PUT":
            if self._agents:
                raise ValueError("Instances are hosts here, and commands end as they end on the host.")
            self._failing = set(map(str, given.get("fail") or []))
        return {"fail": sorted(self._failing)}

    # What operators call

    def _send(self, request: Request, given: dict[str, Any]) -> Any:
        with self._moto:
            content = _document(request.region, str(given.get("DocumentName")), given.get("DocumentVersion"))
            ids = self._targets(request.region, given)
        try:
            steps = documents.steps(content, given.get("Parameters") or {})
        except documents.InvalidParametersError as error:
            raise _RefusedError("InvalidParameters", str(error)) from error
        except documents.UnsupportedActionError as error:
            raise _RefusedError("UnsupportedPlatformType", str(error)) from error
        command = Command(str(uuid.uuid4()), request.region, given, steps, ids)
        if not self._agents:
            for each in command.invocations:
                each.pretend(each.instance in self._failing)
        with self._changed:
            self._commands[command.id] = command
            self._changed.notify_all()
        return {"Command": command.described()}

    def _targets(self, region: str, given: dict[str, Any]) -> list[str]:
        """Ids of the instances that a command goes to, in order."""
        running = {each.id: each for each in account.instances(region) if each.state == "running"}
        if self._agents:
            running = {id_: each for id_, each in running.items() if id_ in self._pings}
        named = list(dict.fromkeys(given.get("InstanceIds") or []))
        invalid = [id_ for id_ in named if id_ not in running]
        if invalid:
            message = f"Instances [[{', '.join(invalid)}]] not in a valid state for account {account.account_id()}"
            raise _RefusedError("InvalidInstanceId", message)
        targets = given.get("Targets") or []
        if len(named) > _MOST_IDS:
            raise _RefusedError("ValidationException", f"InstanceIds: at most {_MOST_IDS} are allowed; use Targets.")
        if not named and not targets:
            raise _RefusedError("ValidationException", "InstanceIds or Targets must be given.")
        for id_ in running:
            if targets and id_ not in named and all(_matches(id_, region, target) for target in targets):
                named.append(id_)
        return named

    def _cancel(self, _request: Request, given: dict[str, Any]) -> Any:
        with self._changed:
            command = self._command(given["CommandId"])
            command.cancel(given.get("InstanceIds") or [])
            self._changed.notify_all()
        return {}

    def _list(self, _request: Request, given: dict[str, Any]) -> Any:
        with self._changed:
            self._advance()
            found = [self._command(given["CommandId"])] if given.get("CommandId") else list(self._commands.values())
            if given.get("InstanceId"):
                found = [each for each in found if each.of(given["InstanceId"])]
            return _page("Commands", [each.described() for each in reversed(found)], given)

    def _list_invocations(self, _request: Request, given: dict[str, Any]) -> Any:
        with self._changed:
            self._advance()
            found = [self._command(given["CommandId"])] if given.get("CommandId") else list(self._commands.values())
            details = bool(given.get("Details"))
            listed = [
                each.listed(details)
                for command in found
                for each in command.invocations
                if given.get("InstanceId") in (None, each.instance)
            ]
            return _page("CommandInvocations", listed, given)

    def _get(self, _request: Request, given: dict[str, Any]) -> Any:
        with self._changed:
            self._advance()
            invocation = self._command(given["CommandId"]).of(str(given["InstanceId"]))
            shown = invocation.shown(given.get("PluginName")) if invocation else None
            if shown is None:
                raise _RefusedError("InvocationDoesNotExist")
            return shown

    def _information(self, request: Request, given: dict[str, Any]) -> Any:
        with self._moto:
            existing = {each.id: each for each in account.instances(request.region) if each.state != "terminated"}
        wanted = {
            value
            for item in [*(given.get("Filters") or []), *(given.get("InstanceInformationFilterList") or [])]
            if item.get("Key", item.get("key")) == "InstanceIds"
            for value in item.get("Values", item.get("valueSet"))
        }
        with self._changed:
            found = [
                {
                    **about,
                    "InstanceId": id_,
                    "PingStatus": "Online" if time.time() - at < _ONLINE_SECONDS else "ConnectionLost",
                    "LastPingDateTime": at,
                    "ResourceType": "EC2Instance",
                    "IPAddress": existing[id_].private_ip,
                    "ComputerName": existing[id_].private_dns_name,
                }
                for id_, (at, about) in self._pings.items()
                if id_ in existing and (not wanted or id_ in wanted)
            ]
        return _page("InstanceInformationList", found, given)

    # What agents call

    def _ping(self, request: Request, given: dict[str, Any]) -> Any:
        id_ = self._identity(request, given)
        about: dict[str, Any] = {name: given[name] for name in ("AgentVersion", "PlatformType") if name in given}
        with self._changed:
            self._pings[id_] = (time.time(), about)
        return {}

    def _messages(self, request: Request, given: dict[str, Any]) -> Any:
        """Wait for something to do on a host."""
        id_ = self._identity(request, given)
        deadline = time.monotonic() + _LONGEST_POLL
        with self._changed:
            while True:
                self._advance()
                messages = []
                for command in self._commands.values():
                    invocation = command.of(id_)
                    kind = invocation.message(time.time()) if invocation else ""
                    if kind:
                        messages.append({"CommandId": command.id, "Kind": kind, "Steps": _steps(command)})
                left = deadline - time.monotonic()
                if messages or left <= 0:
                    return {"Messages": messages}
                self._changed.wait(min(left, 1.0))

    def _acknowledge(self, request: Request, given: dict[str, Any]) -> Any:
        id_ = self._identity(request, given)
        with self._changed:
            command = self._commands.get(given["CommandId"])
            invocation = command.of(id_) if command else None
            if invocation is not None:
                invocation.acknowledge()
        return {}

    def _reply(self, request: Request, given: dict[str, Any]) -> Any:
        id_ = self._identity(request, given)
        with self._changed:
            command = self._commands.get(given["CommandId"])
            invocation = command.of(id_) if command else None
            if invocation is not None:
                invocation.report(given["Steps"], bool(given["Final"]))
            self._changed.notify_all()
        return {}

    def _identity(self, request: Request, given: dict[str, Any]) -> str:
        """The instance whose role makes this request; no host speaks for another."""
        with self._moto:
            session = account.session_of(request.access_key)
        if session != given.get("InstanceId"):
            raise _RefusedError("AccessDeniedException", "These are not the credentials of that instance.")
        return session

    # Both

    def _command(self, id_: str) -> Command:
        if id_ not in self._commands:
            raise _RefusedError("InvalidCommandId")
        return self._commands[id_]

    def _advance(self) -> None:
        """Let time and limits act on all commands."""
        for command in self._commands.values():
            command.advance(time.time())


def _steps(command: Command) -> list[dict[str, Any]]:
    """As the agent is told them."""
    names = {"exit_on_failure": "ExitOnFailure"}
    return [{names.get(key, key.title()): value for key, value in asdict(step).items()} for step in command.steps]


def _document(region: str, name: str, version: str | None) -> dict[str, Any]:
    name = name.rsplit("/", 1)[-1] if name.startswith("arn:") else name
    if name == "AWS-RunShellScript":
        return documents.RUN_SHELL_SCRIPT
    found = account.backend("ssm", region)._documents.get(name)
    wanted = None if version in (None, "$DEFAULT") else version
    document = found.find(wanted, strict=False) if found else None
    if document is None:
        raise _RefusedError("InvalidDocument", f"Document with name {name} does not exist.")
    return dict(document.content_json)


def _matches(instance_id: str, region: str, target: dict[str, Any]) -> bool:
    key, values = str(target.get("Key")), list(target.get("Values") or [])
    if key == "InstanceIds":
        return instance_id in values
    tags = account.tags_of(instance_id, region)
    if key == "tag-key":
        return any(value in tags for value in values)
    return key.startswith("tag:") and tags.get(key.removeprefix("tag:")) in values


def _page(name: str, found: list[Any], given: dict[str, Any]) -> dict[str, Any]:
    start, size = int(given.get("NextToken") or 0), int(given.get("MaxResults") or _PAGE)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {name: found[start : start + size], **more}
