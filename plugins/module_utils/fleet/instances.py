# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Actual state: EC2's description of an instance as a typed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from .._naming import LIVE_STATES
from .._tags import tag_dict
from .claims import DRAIN_ASKED, drain_confirmed, served_model

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Instance:
    id: str
    state: str = "running"
    type: str = ""
    image_id: str = ""
    subnet_id: str = ""
    zone: str = ""
    private_ip: str = ""
    private_dns_name: str = ""
    launch_time: datetime = _EPOCH
    # When its root volume and first network interface were attached. A start moves the launch time, but not this.
    attached: datetime | None = None
    launch_index: int = 0
    lifecycle: str = ""
    client_token: str = ""
    profile: str = ""
    state_reason: str = ""
    state_message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_api(cls, item: Mapping[str, Any]) -> Instance:
        launched = _aware(item.get("LaunchTime") or _EPOCH)
        reason = item.get("StateReason") or {}
        return cls(
            id=item["InstanceId"],
            state=item["State"]["Name"],
            type=item.get("InstanceType") or "",
            image_id=item.get("ImageId") or "",
            subnet_id=item.get("SubnetId") or "",
            zone=(item.get("Placement") or {}).get("AvailabilityZone") or "",
            private_ip=item.get("PrivateIpAddress") or "",
            private_dns_name=item.get("PrivateDnsName") or "",
            launch_time=launched,
            attached=_attached(item),
            launch_index=int(item.get("AmiLaunchIndex") or 0),
            lifecycle=item.get("InstanceLifecycle") or "",
            client_token=item.get("ClientToken") or "",
            profile=((item.get("IamInstanceProfile") or {}).get("Arn") or "").rsplit("/", 1)[-1],
            state_reason=reason.get("Code") or "",
            state_message=reason.get("Message") or "",
            tags=tag_dict(item.get("Tags")),
        )

    @property
    def model(self) -> str:
        """The name of the model that claims this instance, or empty."""
        return served_model(self.tags)

    @property
    def drain_asked(self) -> str:
        """When a drain was requested since its last start, or empty."""
        return self.tags.get(DRAIN_ASKED, "")

    @property
    def idle(self) -> bool:
        """Whether it runs and does not trade: it confirmed a drain, and was not stopped and started since."""
        confirmed = drain_confirmed(self.tags)
        return confirmed is not None and self.launch_time <= confirmed

    @property
    def live(self) -> bool:
        return self.state in LIVE_STATES

    @property
    def age_key(self) -> tuple[datetime, str]:
        """Sorts oldest first, the same for every operator."""
        return (self.launch_time, self.id)

    @property
    def batch_key(self) -> tuple[str, int, datetime, str]:
        """Sorts unclaimed instances in the order of the models that they were launched for."""
        return (self.tags.get("LaunchBatch", ""), self.launch_index, self.launch_time, self.id)

    @property
    def created(self) -> datetime:
        """When it was launched for the first time, whatever starts followed."""
        return min(self.launch_time, self.attached or self.launch_time)

    def with_tags(self, tags: Mapping[str, str]) -> Instance:
        return replace(self, tags={**self.tags, **tags})

    def with_state(self, state: str) -> Instance:
        return replace(self, state=state)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _attached(item: Mapping[str, Any]) -> datetime | None:
    root = [
        disk.get("Ebs") or {}
        for disk in item.get("BlockDeviceMappings") or ()
        if disk.get("DeviceName") == item.get("RootDeviceName")
    ]
    cards = [card.get("Attachment") or {} for card in item.get("NetworkInterfaces") or ()]
    first = [card for card in cards if card.get("DeviceIndex") == 0]
    times = [_aware(found["AttachTime"]) for found in (*root, *first) if found.get("AttachTime")]
    return min(times, default=None)
