# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's settings as one frozen, typed value. `FleetSettings.from_dict` is the only door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._naming import resource_name
from .._tags import IDENTITY, identity_tags
from .claims import CLAIM_DIGEST, DRAIN_ASKED
from .pacing import Limit
from .session import Session

POWER = ("running", "keep", "stopped")
# What to do about an instance that is no longer as wanted, by what has changed.
ON_CHANGE: dict[str, tuple[str, ...]] = {
    "version": ("restart", "reconfigure", "replace", "ignore"),
    "configuration": ("replace", "restart", "reconfigure", "ignore"),
    "instance_type": ("replace", "restart", "ignore"),
    "image": ("replace", "ignore"),
    "launch": ("replace", "ignore"),
    "subnet": ("ignore", "replace"),
}
OWN_TAGS = frozenset(
    {*IDENTITY, "Name", "Model", "ModelType", "Symbol", "ModelName"}
    | {"Outer", "Inner", "ModelUri", "ModelVersion", "LaunchDigest", "ConfigDigest", "LaunchBatch"}
    | {CLAIM_DIGEST, DRAIN_ASKED}
)


@dataclass(frozen=True)
class RootVolume:
    size: int = 8
    type: str = "gp3"
    iops: int = 0
    throughput: int = 0
    encrypted: bool = True
    kms_key_id: str = ""
    device_name: str = "/dev/xvda"


@dataclass(frozen=True)
class LaunchSettings:
    """What an instance is made of. An override replaces single fields of it for some models."""

    image_id: str = ""
    instance_types: tuple[str, ...] = ()
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    instance_profile_name: str = ""
    user_data: str = ""
    market: str = "on-demand"
    monitoring: bool = False
    metadata_hop_limit: int = 1
    root_volume: RootVolume = RootVolume()
    configuration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Selector:
    """Matches models by type, symbol, model name or full name. Empty fields match everything."""

    types: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def matches(self, *, type_: str, symbol: str, model: str, name: str) -> bool:
        return (
            (not self.types or type_ in self.types)
            and (not self.symbols or symbol in self.symbols)
            and (not self.models or model in self.models or name in self.models)
        )

    @property
    def everything(self) -> bool:
        return not (self.types or self.symbols or self.models)


@dataclass(frozen=True)
class Override:
    """Launch settings for the selected models. `configuration` is merged, the rest replaces."""

    selector: Selector
    fields: tuple[tuple[str, Any], ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplaceSettings:
    batch_size: int = 10
    max_unavailable: int = 10
    surge: bool = True
    force: bool = False


@dataclass(frozen=True)
class HealthSettings:
    check: str = "status"
    tag: str = "Health"
    value: str = "ok"
    timeout: float = 300.0


@dataclass(frozen=True)
class FleetSettings:
    """All that decides about a fleet, apart from the models, the account's state and the time."""

    project: str
    environment: str
    component: str = "trading_server"
    state: str = "present"
    launch: LaunchSettings = LaunchSettings()
    overrides: tuple[Override, ...] = ()
    selection: Selector = Selector()
    tags: Mapping[str, str] = field(default_factory=dict)
    protect_tags: Mapping[str, str] = field(default_factory=lambda: {"Stateful": "true", "Protected": "true"})
    power: str = "running"
    on_change: Mapping[str, str] = field(default_factory=lambda: {what: how[0] for what, how in ON_CHANGE.items()})
    replace: ReplaceSettings = ReplaceSettings()
    health: HealthSettings = HealthSettings()
    session: Session | None = None
    max_terminate_share: float = 0.2
    launch_batch: int = 100
    action_batch: int = 500
    workers: int = 16
    wait: bool = True
    wait_timeout: float = 600.0
    claim_grace: float = 300.0
    rate_factor: float = 1.0
    rate_limits: Mapping[str, Limit] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FleetSettings:
        """Read and check settings. Every mistake is in the one SettingsError that is raised."""
        # Only the door needs the reader, and the reader needs this class.
        from ._settings_reader import read_settings

        return read_settings(data)

    @property
    def identity_tags(self) -> dict[str, str]:
        """The tags that make an instance ours. Nothing without all of them is ever touched."""
        return identity_tags(self.project, self.environment, self.component)

    @property
    def name_prefix(self) -> str:
        return resource_name(self.project, self.component, self.environment)
