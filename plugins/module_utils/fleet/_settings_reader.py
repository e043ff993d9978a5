# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a plain dict to FleetSettings: what the specification alone cannot check, and the typed value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._errors import AlgoTradingError
from ..models import DEFAULT_PATTERN, check_layout, literal_prefix
from ._complete import complete
from .architectures import architectures
from .errors import SettingsError
from .pacing import PUBLISHED_LIMITS, Limit
from .session import Session, read_exchange, read_session
from .settings import (
    OWN_TAGS,
    FleetSettings,
    HealthSettings,
    LaunchSettings,
    Override,
    ReplaceSettings,
    RootVolume,
    Selector,
    Source,
)
from .spec import DECIDING

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,31}$")
_ACCOUNT = re.compile(r"^[0-9]{12}$")
# With tags readable through the instance metadata service, EC2 refuses the launch for other keys.
_TAG_KEY = re.compile(r"^[A-Za-z0-9+\-=.,_:@]{1,128}$")
_TEXTS = ("image_id", "instance_profile_name", "user_data", "market")
_LISTS = ("instance_types", "subnet_ids", "security_group_ids")


def read_settings(data: Mapping[str, Any]) -> FleetSettings:
    """Read and check settings. Every mistake is in the one SettingsError that is raised."""
    problems = problems_of(data)
    if problems:
        raise SettingsError("The fleet's settings are not valid: " + "; ".join(problems) + ".")
    return _typed(complete(DECIDING, data, []), [])


def problems_of(data: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with these settings, in words that begin with the option's name."""
    problems: list[str] = []
    values = complete(DECIDING, data, problems)
    problems += _contradictions(values)
    _session(values, problems)
    return problems


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{what} must be lower-case letters, digits and hyphens, not {values[what]!r}"
        for what in ("project", "environment")
        if what in values and not _NAME.match(values[what])
    ]
    tags = values.get("tags", {})
    for key in tags:
        if key in OWN_TAGS:
            problems.append(f"tags.{key} is reserved for the fleet")
        elif key.lower().startswith("aws:") or not _TAG_KEY.match(key):
            problems.append(
                f"tags.{key}: the key must not contain '/' or spaces, nor start with aws:, "
                "because hosts read their tags from the metadata service"
            )
    if len(tags) > 50 - len(OWN_TAGS):
        problems.append(f"tags: at most {50 - len(OWN_TAGS)} of your own fit beside the fleet's")
    for number, override in enumerate(values.get("overrides", ())):
        if not any(override.get(key) for key in ("type", "symbol", "model")):
            problems.append(f"overrides[{number}] must name a type, symbol or model")
    return [*problems, *_architecture_problems(values), *_source_problems(values.get("source", {}))]


def _architecture_problems(values: Mapping[str, Any]) -> list[str]:
    """An image runs on one architecture, so types that share an image share the architecture."""
    problems = []
    base = architectures(values.get("instance_types", ()))
    if len(base) > 1:
        problems.append(f"instance_types are of {' and '.join(base)}; one image cannot run on both")
    for number, override in enumerate(values.get("overrides", ())):
        own = architectures(override.get("instance_types", ()))
        if len(own) > 1:
            problems.append(
                f"overrides[{number}].instance_types are of {' and '.join(own)}; one image cannot run on both"
            )
        elif own and len(base) == 1 and own != base and not override.get("image_id"):
            problems.append(
                f"overrides[{number}].instance_types are of {own[0]} and instance_types of {base[0]}; "
                "set image_id in this override"
            )
    return problems


def _session(values: Mapping[str, Any], problems: list[str]) -> Session | None:
    """When nothing may be interrupted: the option `session`, or the sessions of `calendar`."""
    exchange = read_exchange(values["calendar"], problems) if values.get("calendar") else None
    return read_session(values["session"], problems) if values.get("session") else exchange


def _source_problems(source: Mapping[str, Any]) -> list[str]:
    problems = []
    owner = source.get("owner", "")
    if owner and not _ACCOUNT.match(owner):
        problems.append(f"source.owner must be an account id of 12 digits, not {owner!r}")
    for name, prefix in (("pattern", ""), ("prefix", source.get("prefix", ""))):
        try:
            check_layout(source.get("pattern", DEFAULT_PATTERN), prefix)
        except AlgoTradingError as error:
            problems.append(f"source.{name}: {error}".rstrip("."))
            break
    return problems


def _typed(values: Mapping[str, Any], problems: list[str]) -> FleetSettings:
    once = values["once"]
    limits = dict(values["rate_limits"])
    own = once.get("selection") or {}
    return FleetSettings(
        project=values["project"],
        environment=values["environment"],
        component=values["component"],
        state=values["state"],
        source=_source(values["source"]),
        launch=_launch(values),
        overrides=tuple(_override(item) for item in values["overrides"]),
        selection=_selector(own if own else values["selection"]),
        tags=values["tags"],
        protect_tags=values["protect_tags"],
        power=once.get("power") or values["power"],
        on_change=values["on_change"],
        replace=ReplaceSettings(**{"max_unavailable": values["replace"]["batch_size"], **values["replace"]}),
        health=HealthSettings(**values["health"]),
        session=_session(values, problems),
        force=once["force"],
        halt_parameter=values.get("halt_parameter", ""),
        max_terminate_share=once.get("max_terminate_share", values["max_terminate_share"]),
        launch_batch=values["launch_batch"],
        action_batch=values["action_batch"],
        workers=values["workers"],
        wait=values["wait"],
        wait_timeout=values["wait_timeout"],
        claim_grace=values["claim_grace"],
        rate_factor=limits.pop("factor"),
        rate_limits={operation: _limit(operation, given) for operation, given in limits.items() if given},
    )


def _source(values: Mapping[str, Any]) -> Source:
    pattern = values["pattern"]
    return Source(
        bucket=values.get("bucket", ""),
        owner=values.get("owner", ""),
        prefix=values.get("prefix") or literal_prefix(pattern),
        pattern=pattern,
        types=tuple(values["types"]),
        symbols=tuple(values["symbols"]),
        models=tuple(values["models"]),
        on_invalid=values["on_invalid"],
        require_manifest=values["require_manifest"],
        exact=values["exact"],
    )


def _launch(values: Mapping[str, Any]) -> LaunchSettings:
    return LaunchSettings(
        image_id=values.get("image_id", ""),
        instance_types=tuple(values["instance_types"]),
        subnet_ids=tuple(values["subnet_ids"]),
        security_group_ids=tuple(values["security_group_ids"]),
        instance_profile_name=values.get("instance_profile_name", ""),
        user_data=values.get("user_data", ""),
        market=values["market"],
        monitoring=values["monitoring"],
        metadata_hop_limit=values["metadata_hop_limit"],
        root_volume=RootVolume(**{"kms_key_id": "", **values["root_volume"]}),
        configuration=values["configuration"],
    )


def _override(values: Mapping[str, Any]) -> Override:
    texts = [(key, values[key]) for key in _TEXTS if values.get(key)]
    lists = [(key, tuple(values[key])) for key in _LISTS if values.get(key)]
    selector = Selector(*(tuple(values.get(key, ())) for key in ("type", "symbol", "model")))
    return Override(selector, (*texts, *lists), values.get("configuration", {}))


def _selector(values: Mapping[str, Any]) -> Selector:
    return Selector(**{key: tuple(names) for key, names in values.items()})


def _limit(operation: str, given: Mapping[str, float]) -> Limit:
    published = PUBLISHED_LIMITS[operation]
    return Limit(
        given.get("bucket", published.bucket),
        given.get("refill", published.refill),
        given.get("resource_bucket", published.resource_bucket),
        given.get("resource_refill", published.resource_refill),
    )
