#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_lock
version_added: 0.1.0
short_description: Acquire and release the lock of an environment
description:
  - Acquires a lock, kept as a parameter of AWS Systems Manager, so that two runs of a playbook do not change the same
    environment at once. The parameter is created atomically.
  - The lock belongs to the running C(ansible-playbook) process. Taking it again from the same run is fine.
  - A lock is taken over, with a warning, when it has expired or when its holder was a process on this very machine
    that no longer runs.
  - Must run on the controller.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the parameter.
    type: str
    required: true
  state:
    description:
      - V(present) acquires the lock, and fails if another run holds it.
      - V(absent) releases it. The lock of another run is released only with O(lock_id), or if it is stale.
    type: str
    choices: [present, absent]
    default: present
  purpose:
    description: What the lock is held for, shown to runs that find it held.
    type: str
    default: ''
  expires_in:
    description: Seconds after which the lock is stale. Must be longer than the longest run.
    type: int
    default: 21600
  lock_id:
    description: With O(state=absent), releases the lock with this id, whoever holds it, and no other.
    type: str
  tags:
    description: Tags of the parameter.
    type: dict
    aliases: [resource_tags]
attributes:
  check_mode:
    description: Reads only, and warns if another run holds the lock.
    support: full
  diff_mode:
    description: A lock is not a resource of the environment.
    support: none
notes:
  - Returns C(changed=false) always. A lock is no change to the environment, and a run that changes nothing must say so.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Take the lock of the environment
  algo.trading.environment_lock:
    name: /algo-trading/qa/lock
    purpose: site.yml
    tags:
      Project: algo-trading
      Environment: qa

- name: Give it back
  algo.trading.environment_lock:
    name: /algo-trading/qa/lock
    state: absent

- name: Break the lock of a run that is known to be dead
  algo.trading.environment_lock:
    name: /algo-trading/qa/lock
    state: absent
    lock_id: 3f0c9f0e-8f7c-4f43-9d5c-0f6d1c2b7a55
"""

RETURN = r"""
acquired:
  description: Whether this run holds the lock now. Always V(false) in check mode.
  returned: success
  type: bool
  sample: true
released:
  description: Whether a lock was released.
  returned: success
  type: bool
  sample: false
lock:
  description: The lock as it is now, or the released one. Empty where there is none.
  returned: always
  type: dict
  contains: &lock
    lock_id:
      description: Identifies the lock, for O(lock_id).
      returned: when there is a lock
      type: str
      sample: 3f0c9f0e-8f7c-4f43-9d5c-0f6d1c2b7a55
    holder:
      description: User and host that hold it.
      returned: when there is a lock
      type: str
      sample: deploy@controller
    pid:
      description: Process id of the holder's C(ansible-playbook).
      returned: when there is a lock
      type: int
      sample: 4711
    process_started:
      description: When that process started, in the system's own terms.
      returned: when there is a lock
      type: str
      sample: '123456'
    machine:
      description: Identity of the holder's machine.
      returned: when there is a lock
      type: str
      sample: controller/0123456789abcdef0123456789abcdef/pid:[4026531836]
    boot_id:
      description: Identity of that machine's last start.
      returned: when there is a lock
      type: str
      sample: 5c9a6f0e-5d55-4d5b-8a3e-1f6f3b9d9a10
    since:
      description: When it was taken, in ISO 8601.
      returned: when there is a lock
      type: str
      sample: '2025-06-02T14:00:00+00:00'
    expires:
      description: When it becomes stale, in ISO 8601.
      returned: when there is a lock
      type: str
      sample: '2025-06-02T20:00:00+00:00'
    purpose:
      description: What it is held for.
      returned: when there is a lock
      type: str
      sample: site.yml
taken_over:
  description: The stale lock of another run that was taken over, like RV(lock). Empty where there was none.
  returned: success
  type: dict
  contains: *lock
"""

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils import _process as process
from ansible_collections.algo.trading.plugins.module_utils.lock import (
    AnsibleLockError,
    Holder,
    Lock,
    LockStore,
    held_message,
    why_free,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry


class LockTask:
    """What a task with these options does to the lock."""

    def __init__(self, store: LockStore, me: Holder, params: dict[str, Any], check_mode: bool) -> None:
        self._store = store
        self._me = me
        self._params = params
        self._check_mode = check_mode
        self.warnings: list[str] = []

    def acquire(self) -> dict[str, Any]:
        if self._check_mode:
            seen = self._store.read()
            if seen.lock and seen.lock.by != self._me and not self._why_free(seen.lock, seen.now):
                self.warnings.append(
                    f"A run without check mode would stop here: {held_message(self._store.name, seen.lock)}"
                )
            return self._result(lock=seen.lock)
        mine = self._new_lock()
        seen = self._store.create(mine)
        if seen.lock and seen.lock.by == self._me:
            return self._result(acquired=True, lock=seen.lock)
        taken_over = seen.lock
        if seen.lock:
            self._take_away(seen.lock, seen.now)
        # Others may have waited for the same moment: creating it decides.
        seen = self._store.create(mine)
        if not seen.lock or seen.lock.by != self._me:
            held = (
                held_message(self._store.name, seen.lock)
                if seen.lock
                else f"{self._store.name} is being taken by several runs"
            )
            raise AnsibleLockError(message=held)
        return self._result(acquired=True, lock=seen.lock, taken_over=taken_over)

    def release(self) -> dict[str, Any]:
        seen = self._store.read()
        lock, lock_id = seen.lock, self._params["lock_id"]
        if lock is None:
            return self._result()
        if lock_id and lock_id != lock.lock_id:
            raise AnsibleLockError(
                message=f"{self._store.name} has the id {lock.lock_id}, not {lock_id}: "
                f"it is not the lock that you named. {held_message(self._store.name, lock)}"
            )
        mine = lock.by == self._me
        if not lock_id and not mine and not self._why_free(lock, seen.now):
            raise AnsibleLockError(message=held_message(self._store.name, lock))
        if self._check_mode:
            return self._result(lock=lock)
        if mine and not self._why_free(lock, seen.now):
            released = self._store.delete_own()
        else:
            released = self._store.break_lock(lock)
        return self._result(released=released, lock=lock, taken_over=None if mine else lock)

    def _take_away(self, lock: Lock, now: datetime) -> None:
        reason = self._why_free(lock, now)
        if reason is None:
            raise AnsibleLockError(message=held_message(self._store.name, lock))
        if self._store.break_lock(lock):
            self.warnings.append(f"Took over {self._store.name} from {lock.by.holder}: {reason}")

    def _why_free(self, lock: Lock, now: datetime) -> str | None:
        return why_free(lock, self._me, lambda by: process.is_gone(by.pid, by.process_started), process.booted(), now)

    def _new_lock(self) -> Lock:
        now = datetime.now(UTC).replace(microsecond=0)
        expires = now + timedelta(seconds=self._params["expires_in"])
        return Lock(str(uuid.uuid4()), now.isoformat(), expires.isoformat(), self._params["purpose"], self._me)

    @staticmethod
    def _result(
        acquired: bool = False, released: bool = False, lock: Lock | None = None, taken_over: Lock | None = None
    ) -> dict[str, Any]:
        return {
            "acquired": acquired,
            "released": released,
            "lock": lock.to_dict() if lock else {},
            "taken_over": taken_over.to_dict() if taken_over else {},
        }


def this_holder() -> Holder:
    """The run that this module belongs to."""
    run = process.this_run(os.getpid())
    pid, started = (run.pid, run.started) if run else (os.getppid(), "")
    return Holder(process.user_at_host(), process.machine(), process.boot_id(), pid, started)


def main() -> None:
    """Take or give back, report."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purpose": {"type": "str", "default": ""},
            "expires_in": {"type": "int", "default": 21600},
            "lock_id": {"type": "str"},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
        },
        supports_check_mode=True,
    )
    client = module.client("ssm", retry_decorator=AWSRetry.jittered_backoff())
    store = LockStore(client, module.params["name"], module.params["tags"])
    task = LockTask(store, this_holder(), module.params, module.check_mode)
    try:
        result = task.acquire() if module.params["state"] == "present" else task.release()
    except AnsibleLockError as error:
        module.fail_json_aws_error(error)
    for warning in task.warnings:
        module.warn(warning)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
