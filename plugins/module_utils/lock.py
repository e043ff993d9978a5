# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An environment's lock in SSM: who holds it, and whether that holder still runs.

SSM can create a parameter atomically but can't delete one conditionally. So a run that takes over a lock first
creates a second parameter, the claim; holding it, the run reads the lock again, deletes exactly the lock that it had
seen, and deletes the claim.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.tagging import ansible_dict_to_boto3_tag_list

# A claim is held for a few calls. One this old belongs to a process that died between them.
_CLAIM_LIFETIME = timedelta(minutes=2)


class AnsibleLockError(AnsibleAWSError):
    """A lock that cannot be acquired or released, with what to do about it."""


class LockErrorHandler(AWSErrorHandler):
    """Name the action in plain words when a call fails."""

    _CUSTOM_EXCEPTION = AnsibleLockError

    @classmethod
    def _is_missing(cls) -> type[Exception]:
        missing: type[Exception] = is_boto3_error_code("ParameterNotFound")
        return missing


@dataclass(frozen=True)
class Holder:
    """A run of ansible-playbook, told apart from every other one, also after its process id is used again."""

    holder: str  # user@host
    machine: str  # one boot-independent name per machine and process namespace
    boot_id: str
    pid: int
    process_started: str


@dataclass(frozen=True)
class Lock:
    """What the parameter says."""

    lock_id: str
    since: str
    expires: str
    purpose: str
    by: Holder

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        flat = asdict(self)
        return {**flat.pop("by"), **flat}

    @classmethod
    def from_json(cls, value: str, version: int) -> Lock:
        """Read a lock. An unreadable one is still a lock: it has an id and never counts as stale."""
        try:
            found = json.loads(value)
            by = Holder(**{field.name: found[field.name] for field in fields(Holder)})
            datetime.fromisoformat(found["since"])
            datetime.fromisoformat(found["expires"])
            return cls(found["lock_id"], found["since"], found["expires"], found["purpose"], by)
        except (ValueError, KeyError, TypeError):
            never = datetime.max.replace(tzinfo=UTC).isoformat()
            unknown = Holder("unknown", "", "", 0, "")
            return cls(f"unreadable-{version}", datetime.min.replace(tzinfo=UTC).isoformat(), never, "", unknown)


# Whether a holder on this machine no longer runs: process id, when it started -> True
Gone = Callable[[Holder], bool]


def why_free(lock: Lock, me: Holder, gone: Gone, booted: datetime | None, now: datetime) -> str | None:
    """Why a lock is stale and may be taken over; None if it is not."""
    if now >= datetime.fromisoformat(lock.expires):
        return f"it expired at {lock.expires}"
    if not lock.by.machine or lock.by.machine != me.machine:
        return None
    if lock.by.boot_id != me.boot_id:
        # Cloned machines may share a name: only one that was started after the lock was taken has lost its process.
        if booted is not None and booted > datetime.fromisoformat(lock.since):
            return "its machine was restarted"
        return None
    return f"its process {lock.by.pid} on this machine no longer runs" if gone(lock.by) else None


def held_message(name: str, lock: Lock) -> str:
    """Who holds the lock and how to break it."""
    purpose = f" for {lock.purpose}" if lock.purpose else ""
    environment = "".join(name.strip("/").split("/")[-2:-1]) or "…"  # locks are /<project>/<environment>/lock
    return (
        f"{name} is held by {lock.by.holder} (process {lock.by.pid}){purpose} since {lock.since}, until {lock.expires} "
        f"at the latest. Wait for that run to end. If it has ended: "
        f"ansible-playbook -i inventories/{environment} playbooks/unlock.yml -e algo_lock_id={lock.lock_id}"
    )


@dataclass(frozen=True)
class Seen:
    """The lock as SSM had it, and SSM's own clock."""

    lock: Lock | None
    now: datetime


class LockStore:
    """The lock in SSM Parameter Store, one method per operation."""

    def __init__(self, client: Any, name: str, tags: Mapping[str, str] | None = None) -> None:
        self._client = client
        self.name = name
        self._tags = ansible_dict_to_boto3_tag_list(dict(tags or {}))

    def read(self) -> Seen:
        parameter, now = self._get(self.name)
        return Seen(Lock.from_json(parameter["Value"], parameter["Version"]) if parameter else None, now)

    def create(self, lock: Lock) -> Seen:
        """Acquire the lock if it is free; return the current lock in any case."""
        if self._put(self.name, lock.to_json()):
            return Seen(lock, datetime.fromisoformat(lock.since))
        # Ours as well, if an earlier answer got lost and the SDK asked again.
        return self.read()

    def delete_own(self) -> bool:
        """Release our own lock."""
        return self._delete(self.name)

    def break_lock(self, lock: Lock) -> bool:
        """Delete exactly this lock; False if it no longer exists. Raises while another run is deleting it."""
        claim = f"{self.name}-takeover"
        if not self._put(claim, json.dumps({"lock_id": lock.lock_id})):
            other, now = self._get(claim)
            if other and now - other["LastModifiedDate"] < _CLAIM_LIFETIME:
                raise AnsibleLockError(message=f"{self.name} is being taken over by another run. Try again in a minute")
            self._delete(claim)
            if not self._put(claim, json.dumps({"lock_id": lock.lock_id})):
                raise AnsibleLockError(message=f"{self.name} is being taken over by another run. Try again in a minute")
        try:
            found = self.read().lock
            return found is not None and found.lock_id == lock.lock_id and self._delete(self.name)
        finally:
            self._delete(claim)

    def _get(self, name: str) -> tuple[dict[str, Any] | None, datetime]:
        get = LockErrorHandler.list_error_handler(f"read {name}")(self._client.get_parameter)
        response = get(aws_retry=True, Name=name)
        if response is None:
            return None, datetime.now(UTC)
        date = response["ResponseMetadata"]["HTTPHeaders"].get("date")
        # SSM's clock, which is the same for all runs, unlike those of their machines.
        return response["Parameter"], parsedate_to_datetime(date) if date else datetime.now(UTC)

    def _put(self, name: str, value: str) -> bool:
        put = LockErrorHandler.common_error_handler(f"write {name}")(self._put_unless_there)
        return bool(put(name, value))

    def _put_unless_there(self, name: str, value: str) -> bool:
        description = "Lock of the environment, see playbooks/unlock.yml"
        arguments = {"Name": name, "Value": value, "Type": "String", "Description": description, "Tags": self._tags}
        try:
            self._client.put_parameter(aws_retry=True, Overwrite=False, **arguments)
        except is_boto3_error_code("ParameterAlreadyExists"):
            return False
        return True

    def _delete(self, name: str) -> bool:
        delete = LockErrorHandler.deletion_error_handler(f"delete {name}")(self._client.delete_parameter)
        return bool(delete(aws_retry=True, Name=name))
