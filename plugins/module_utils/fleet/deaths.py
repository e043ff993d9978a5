# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launches that EC2 accepts and then terminates. The cause is in the instance's state reason.

EC2 shows an ended instance for about an hour. That is the memory: nothing is stored, and the next run,
of the module or the function, reads the same. A failed launch is not retried for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from . import errors
from .desired import LaunchSpec
from .instances import Instance

REMEMBERED = timedelta(minutes=10)
# The likely cause for each state reason that does not name one.
_NOT_STARTED = "Client.InternalError"


def explain(instance: Instance, kms_key: str) -> str:
    """What happened to this instance, with the likely cause and what to do."""
    said = f"{instance.state_reason} ({instance.state_message or 'no message'})"
    cause = errors.ADVICE[errors.kind_of_code(instance.state_reason)]
    if instance.state_reason == _NOT_STARTED:
        key = f"the key {kms_key}" if kms_key else "the account's default key for EBS"
        cause = (
            f"The usual cause is disk encryption: {key} is disabled or deleted, or its policy does not let the "
            "launching identity use it (kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:ReEncrypt*, "
            "kms:GenerateDataKeyWithoutPlaintext). Correct the key or its policy, or set root_volume.kms_key_id."
        )
    return (
        f"EC2 accepted the launch of {instance.id} and terminated it at once: {said}. {cause} The same launch is not "
        f"repeated before {instance.launch_time + REMEMBERED:%H:%M} UTC, unless its settings change."
    )


def recent(instances: Iterable[Instance], now: datetime) -> dict[tuple[str, ...], Instance]:
    """The recently failed launches by launch key, except those that have succeeded since."""
    dead: dict[tuple[str, ...], Instance] = {}
    alive: dict[tuple[str, ...], datetime] = {}
    for item in sorted(instances, key=lambda item: item.age_key):
        key = key_of_instance(item)
        if item.live and item.state != "pending":
            alive[key] = item.launch_time
        elif errors.death_at_launch(item.state_reason) and now - item.launch_time < REMEMBERED:
            dead[key] = item
    return {key: item for key, item in dead.items() if key not in alive or alive[key] < item.launch_time}


def key_of(spec: LaunchSpec) -> tuple[str, ...]:
    return (spec.launch_digest, spec.config_digest, spec.settings.image_id)


def key_of_instance(item: Instance) -> tuple[str, ...]:
    return (item.tags.get("LaunchDigest", ""), item.tags.get("ConfigDigest", ""), item.image_id)
