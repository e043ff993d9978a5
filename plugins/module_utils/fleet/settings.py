# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's settings as one frozen, typed value. Defaults and limits are in `spec` only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._naming import resource_name
from .._tags import IDENTITY, identity_tags
from ..models import Listing, list_models
from .claims import CLAIM_DIGEST, DRAIN_ASKED, RESTART_BEGUN
from .pacing import Limit
from .session import Session

OWN_TAGS = frozenset(
    {*IDENTITY, "Name", "Model", "ModelType", "Symbol", "ModelName"}
    | {"Outer", "Inner", "ModelUri", "ModelVersion", "LaunchDigest", "ConfigDigest", "LaunchBatch"}
    | {CLAIM_DIGEST, DRAIN_ASKED, RESTART_BEGUN}
)


@dataclass(frozen=True)
class RootVolume:
    size: int
    type: str
    iops: int
    throughput: int
    encrypted: bool
    kms_key_id: str
    device_name: str


@dataclass(frozen=True)
class LaunchSettings:
    """Launch settings of an instance. An override replaces single fields for some models."""

    image_id: str
    instance_types: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]
    instance_profile_name: str
    user_data: str
    market: str
    monitoring: bool
    metadata_hop_limit: int
    root_volume: RootVolume
    configuration: Mapping[str, Any]


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
class Source:
    """Where models are listed, in what layout, and which of them get a server."""

    bucket: str
    owner: str
    prefix: str
    pattern: str
    types: tuple[str, ...]
    symbols: tuple[str, ...]
    models: tuple[str, ...]
    on_invalid: str
    require_manifest: bool
    exact: bool

    def selects(self, *, type_: str, symbol: str, model: str) -> bool:
        return (
            (not self.types or type_ in self.types)
            and (not self.symbols or symbol in self.symbols)
            and (not self.models or model in self.models)
        )

    def listing(self, s3: Any) -> Listing:
        """List the bucket as the lookup algo.trading.s3_models does with the same options."""
        return list_models(
            s3,
            self.bucket,
            prefix=self.prefix,
            pattern=self.pattern,
            filters={"type": self.types, "symbol": self.symbols, "model": self.models},
            exact=self.exact,
            require_manifest=self.require_manifest,
            owner=self.owner,
            region=s3.meta.region_name,
        )


@dataclass(frozen=True)
class Override:
    """Launch settings for the selected models. `configuration` is merged, the rest replaces."""

    selector: Selector
    fields: tuple[tuple[str, Any], ...]
    configuration: Mapping[str, Any]


@dataclass(frozen=True)
class ReplaceSettings:
    batch_size: int
    max_unavailable: int
    surge: bool


@dataclass(frozen=True)
class HealthSettings:
    check: str
    tag: str
    value: str
    timeout: float


@dataclass(frozen=True)
class FleetSettings:
    """All settings of a fleet."""

    project: str
    environment: str
    component: str
    state: str
    source: Source
    launch: LaunchSettings
    overrides: tuple[Override, ...]
    selection: Selector
    tags: Mapping[str, str]
    protect_tags: Mapping[str, str]
    power: str
    on_change: Mapping[str, str]
    replace: ReplaceSettings
    health: HealthSettings
    session: Session | None
    # Whether this run goes on although the session is open.
    force: bool
    halt_parameter: str
    max_terminate_share: float
    launch_batch: int
    action_batch: int
    workers: int
    wait: bool
    wait_timeout: float
    claim_grace: float
    rate_factor: float
    rate_limits: Mapping[str, Limit]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FleetSettings:
        """Read and check settings. Every mistake is in the one SettingsError that is raised."""
        # The reader needs this class.
        from ._settings_reader import read_settings

        return read_settings(data)

    @property
    def identity_tags(self) -> dict[str, str]:
        """The tags that make an instance ours. Nothing without all of them is ever touched."""
        return identity_tags(self.project, self.environment, self.component)

    def protection(self, tags: Mapping[str, str]) -> str:
        """The tag that protects an instance from being terminated, or empty."""
        for key, value in self.protect_tags.items():
            if tags.get(key, "").lower() == value.lower():
                return f"{key}={tags[key]}"
        return ""

    @property
    def name_prefix(self) -> str:
        return resource_name(self.project, self.component, self.environment)
