# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Desired state: the models, and for each the exact launch that would make its server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

from .claims import CLAIM_DIGEST, MODEL, claim_digest, host_name
from .errors import SettingsError
from .settings import FleetSettings, LaunchSettings

MOST_IN_A_TAG = 256
# By the status of the lookup's entries.
_UNREADY = {
    "publishing": "its model is being published, or was changed after its manifest was written; "
    "run again when that is done and manifest.json was written last",
    "ambiguous": "the bucket has several artifacts of its model; remove all but one",
    "unverified": "its model is newer than its manifest.json and cannot be compared with it; write manifest.json last",
    "unreadable": "the files of its model cannot be read; allow s3:GetObject on them",
}
_FAULTY = frozenset({"unreadable"})
CONFIGURATION_PATH = "/etc/algo-trading/fleet.json"
_MAX_USER_DATA = 16384


@dataclass(frozen=True, order=True)
class FleetModel:
    """One entry of the algo.trading.s3_models lookup, as far as the fleet needs it."""

    name: str
    type: str
    symbol: str
    model: str
    outer: int = 0
    inner: int = 0
    uri: str = ""
    version: str = ""
    # Why nothing may start from its files now.
    unready: str = ""
    # The same, where waiting does not help: the run fails with it, whatever else it has done.
    fault: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FleetModel:
        missing = [key for key in ("name", "type", "symbol", "model") if not data.get(key)]
        if missing:
            raise SettingsError(
                f"A model has no {', '.join(missing)}: {dict(data)!r}. Pass the entries of s3_models unchanged."
            )
        try:
            outer, inner = int(data.get("outer") or 0), int(data.get("inner") or 0)
        except (TypeError, ValueError):
            raise SettingsError(f"Model {data['name']}: outer and inner must be integers.") from None
        status = str(data.get("status") or "")
        unready = str(data.get("reason") or "") or _UNREADY[status] if status in _UNREADY else ""
        model = cls(
            name=str(data["name"]),
            type=str(data["type"]),
            symbol=str(data["symbol"]),
            model=str(data["model"]),
            outer=outer,
            inner=inner,
            uri=str(data.get("uri") or ""),
            version=str(data.get("version") or ""),
            unready=unready,
            fault=unready if status in _FAULTY else "",
        )
        if len(model.name) > MOST_IN_A_TAG or len(model.uri) > MOST_IN_A_TAG:
            raise SettingsError(f"Model {model.name}: name and URI must fit a tag ({MOST_IN_A_TAG} characters).")
        return model


@dataclass(frozen=True)
class LaunchSpec:
    """Everything that the instances of one launch group have in common. Equal specs can share a RunInstances call."""

    settings: LaunchSettings
    user_data: str
    launch_digest: str
    config_digest: str
    tags: tuple[tuple[str, str], ...]

    def parameters(self, *, instance_type: str, subnet_id: str, count: int, least: int, batch: str) -> dict[str, Any]:
        """The parameters of RunInstances, all but the client token. `batch` names the first model meant."""
        launch = self.settings
        volume = launch.root_volume
        ebs: dict[str, Any] = {
            "VolumeSize": volume.size,
            "VolumeType": volume.type,
            "Encrypted": volume.encrypted,
            "DeleteOnTermination": True,
        }
        optional = {"Iops": volume.iops, "Throughput": volume.throughput, "KmsKeyId": volume.kms_key_id}
        ebs.update({key: value for key, value in optional.items() if value})
        tags = [{"Key": key, "Value": value} for key, value in self.tags]
        # Tells whoever adopts an unclaimed instance for which models, in order, its batch was launched.
        own = [*tags, {"Key": "LaunchBatch", "Value": batch}]
        parameters: dict[str, Any] = {
            "ImageId": launch.image_id,
            "InstanceType": instance_type,
            "SubnetId": subnet_id,
            "MinCount": least,
            "MaxCount": count,
            "BlockDeviceMappings": [{"DeviceName": volume.device_name, "Ebs": ebs}],
            "Monitoring": {"Enabled": launch.monitoring},
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                "HttpPutResponseHopLimit": launch.metadata_hop_limit,
                # The host learns from its tags which model it is.
                "InstanceMetadataTags": "enabled",
            },
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": own},
                {"ResourceType": "volume", "Tags": [tag for tag in tags if not tag["Key"].endswith("Digest")]},
            ],
        }
        if launch.security_group_ids:
            parameters["SecurityGroupIds"] = list(launch.security_group_ids)
        if launch.instance_profile_name:
            parameters["IamInstanceProfile"] = {"Name": launch.instance_profile_name}
        if self.user_data:
            parameters["UserData"] = self.user_data
        if launch.market == "spot":
            # One-time: a persistent request would relaunch what we terminate.
            parameters["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": {"SpotInstanceType": "one-time"},
            }
        return parameters


@dataclass(frozen=True)
class Server:
    """A model together with the launch that serves it."""

    model: FleetModel
    spec: LaunchSpec
    # The subnet that an even spread over the listed models gives it.
    home: str
    claim_tags: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return self.model.name


def digest(value: Any, length: int = 16) -> str:
    """A short, stable fingerprint of plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def read_models(models: Iterable[Mapping[str, Any] | FleetModel]) -> tuple[list[FleetModel], dict[str, str]]:
    """The models that can be served, and those that cannot, by name, with the reason. One does not stop the others."""
    good: dict[str, FleetModel] = {}
    bad: dict[str, str] = {}
    for item in models:
        try:
            model = item if isinstance(item, FleetModel) else FleetModel.from_dict(item)
        except SettingsError as exc:
            bad[str(item.get("name") or "") if isinstance(item, Mapping) else ""] = str(exc).rstrip(".")
            continue
        if model.name in good:
            bad[model.name] = "listed more than once"
        good[model.name] = model
    return [model for name, model in good.items() if name not in bad], bad


def desired_servers(settings: FleetSettings, models: Iterable[Mapping[str, Any] | FleetModel]) -> list[Server]:
    """Join settings and models, sorted by name. Checks only the data: no call is made."""
    listed = [item if isinstance(item, FleetModel) else FleetModel.from_dict(item) for item in models]
    source = settings.source
    entries = sorted(
        entry for entry in listed if source.selects(type_=entry.type, symbol=entry.symbol, model=entry.model)
    )
    specs: dict[tuple[int, ...], LaunchSpec] = {}
    servers: list[Server] = []
    for index, model in enumerate(entries):
        matching = tuple(
            number
            for number, override in enumerate(settings.overrides)
            if override.selector.matches(type_=model.type, symbol=model.symbol, model=model.model, name=model.name)
        )
        if matching not in specs:
            specs[matching] = _spec(settings, matching)
        spec = specs[matching]
        subnets = spec.settings.subnet_ids
        # The place in the whole list decides, not what is there now: a run after a crash decides the same again.
        home = subnets[index % len(subnets)] if subnets else ""
        servers.append(Server(model, spec, home, tuple(sorted(_claim_tags(settings, model).items()))))
    return servers


def require_launchable(servers: Sequence[Server]) -> None:
    """What a launch cannot do without. Not asked in check mode, where the network may not exist yet."""
    for server in servers:
        launch = server.spec.settings
        lacking = [key for key in ("image_id", "instance_types", "subnet_ids") if not getattr(launch, key)]
        if lacking:
            raise SettingsError(f"Cannot launch a server for {server.name}: {' and '.join(lacking)} must be set.")


def _spec(settings: FleetSettings, matching: Sequence[int]) -> LaunchSpec:
    launch = settings.launch
    configuration = dict(launch.configuration)
    for number in matching:
        override = settings.overrides[number]
        launch = replace(launch, **dict(override.fields))
        configuration = merged(configuration, override.configuration)
    launch = replace(launch, configuration=configuration)
    user_data = _user_data(settings, launch)
    if len(user_data.encode()) > _MAX_USER_DATA:
        raise SettingsError(
            f"user_data and configuration take {len(user_data.encode())} bytes together; "
            f"EC2 allows {_MAX_USER_DATA}. Put the larger part in S3 or SSM and pass its address."
        )
    launch_digest = digest(
        {
            "security_groups": sorted(launch.security_group_ids),
            "profile": launch.instance_profile_name,
            "market": launch.market,
            "monitoring": launch.monitoring,
            "hop_limit": launch.metadata_hop_limit,
            "volume": vars(launch.root_volume),
        }
    )
    config_digest = digest(user_data)
    tags = {
        **settings.tags,
        **settings.identity_tags,
        "LaunchDigest": launch_digest,
        "ConfigDigest": config_digest,
    }
    return LaunchSpec(launch, user_data, launch_digest, config_digest, tuple(sorted(tags.items())))


def _claim_tags(settings: FleetSettings, model: FleetModel) -> dict[str, str]:
    """The tags that make an instance a model's server. The host waits for them."""
    return {
        "Name": host_name(settings.name_prefix, model.name),
        MODEL: model.name,
        CLAIM_DIGEST: claim_digest(model.name),
        "ModelType": model.type,
        "Symbol": model.symbol,
        "ModelName": model.model,
        "Outer": str(model.outer),
        "Inner": str(model.inner),
        "ModelUri": model.uri,
        "ModelVersion": model.version,
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge dictionaries, nested ones too; other values of `over` win."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _user_data(settings: FleetSettings, launch: LaunchSettings) -> str:
    """The configuration as a file for cloud-init to write, followed by the user data that was given."""
    content = {
        "project": settings.project,
        "environment": settings.environment,
        "component": settings.component,
        "configuration": launch.configuration,
    }
    encoded = base64.b64encode(json.dumps(content, sort_keys=True, default=str).encode()).decode()
    file = {"path": CONFIGURATION_PATH, "permissions": "0644", "encoding": "b64", "content": encoded}
    # JSON is YAML, and needs no YAML library on this side.
    config = "#cloud-config\n" + json.dumps({"write_files": [file]}) + "\n"
    if not launch.user_data:
        return config
    bundle = MIMEMultipart(boundary="==algo-trading-fleet==")
    for text in (config, launch.user_data):
        subtype = "cloud-config" if text.startswith("#cloud-config") else "x-shellscript"
        bundle.attach(MIMEText(text, subtype, "us-ascii" if text.isascii() else "utf-8"))
    return bundle.as_string()
