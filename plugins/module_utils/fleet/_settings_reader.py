# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a plain dict to FleetSettings: reading, checking, and the words for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ._reader import Reader
from .errors import SettingsError
from .pacing import PUBLISHED_LIMITS, Limit
from .session import Session
from .settings import (
    ON_CHANGE,
    OWN_TAGS,
    POWER,
    FleetSettings,
    HealthSettings,
    LaunchSettings,
    Override,
    ReplaceSettings,
    RootVolume,
    Selector,
)

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,31}$")
# With tags readable through the instance metadata service, EC2 refuses the launch for other keys.
_TAG_KEY = re.compile(r"^[A-Za-z0-9+\-=.,_:@]{1,128}$")


def read_settings(data: Mapping[str, Any]) -> FleetSettings:
    """Read and check settings. Every mistake is in the one SettingsError that is raised."""
    problems: list[str] = []
    reader = Reader(data, "", problems)
    factor, limits = _rate_limits(reader.child("rate_limits"))
    settings = FleetSettings(
        project=reader.text("project", required=True),
        environment=reader.text("environment", required=True),
        component=reader.text("component", "trading_server"),
        state=reader.text("state", "present", choices=("present", "absent")),
        launch=_launch(reader),
        overrides=tuple(_override(item) for item in reader.items("overrides")),
        selection=_selector(reader.child("selection")),
        tags={key: str(value) for key, value in reader.mapping("tags").items()},
        protect_tags=_protect(reader),
        power=reader.text("power", "running", choices=POWER),
        on_change=_on_change(reader.child("on_change")),
        replace=_replace(reader.child("replace")),
        health=_health(reader.child("health")),
        session=_session(reader),
        max_terminate_share=reader.number("max_terminate_share", 0.2, most=1),
        launch_batch=reader.integer("launch_batch", 100, least=1, most=1000),
        action_batch=reader.integer("action_batch", 500, least=1, most=1000),
        workers=reader.integer("workers", 16, least=1, most=64),
        wait=reader.flag("wait", True),
        wait_timeout=reader.number("wait_timeout", 600, least=1),
        claim_grace=reader.number("claim_grace", 300),
        rate_factor=factor,
        rate_limits=limits,
    )
    reader.done()
    problems += _contradictions(settings)
    if problems:
        raise SettingsError("The fleet's settings are not usable: " + "; ".join(problems) + ".")
    return settings


def _contradictions(settings: FleetSettings) -> list[str]:
    problems = [
        f"{what} must be lower-case letters, digits and hyphens, not {value!r}"
        for what, value in (("project", settings.project), ("environment", settings.environment))
        if value and not _NAME.match(value)
    ]
    for key in settings.tags:
        if key in OWN_TAGS:
            problems.append(f"tags.{key} is set by the fleet itself")
        elif key.lower().startswith("aws:") or not _TAG_KEY.match(key):
            problems.append(
                f"tags.{key}: the key may not hold '/' or spaces, nor start with aws:, "
                "because hosts read their tags from the metadata service"
            )
    if len(settings.tags) > 50 - len(OWN_TAGS):
        problems.append(f"tags: at most {50 - len(OWN_TAGS)} of your own fit beside the fleet's")
    return problems


def _launch(reader: Reader) -> LaunchSettings:
    volume = reader.child("root_volume")
    launch = LaunchSettings(
        image_id=reader.text("image_id"),
        instance_types=reader.texts("instance_types"),
        subnet_ids=reader.texts("subnet_ids"),
        security_group_ids=reader.texts("security_group_ids"),
        instance_profile_name=reader.text("instance_profile_name"),
        user_data=reader.text("user_data"),
        market=reader.text("market", "on-demand", choices=("on-demand", "spot")),
        monitoring=reader.flag("monitoring", False),
        metadata_hop_limit=reader.integer("metadata_hop_limit", 1, least=1, most=64),
        root_volume=RootVolume(
            size=volume.integer("size", 8, least=1, most=65536),
            type=volume.text("type", "gp3", choices=("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")),
            iops=volume.integer("iops", 0),
            throughput=volume.integer("throughput", 0),
            encrypted=volume.flag("encrypted", True),
            kms_key_id=volume.text("kms_key_id"),
            device_name=volume.text("device_name", "/dev/xvda"),
        ),
        configuration=reader.mapping("configuration"),
    )
    volume.done()
    return launch


# The fields of LaunchSettings that may differ between models, with how to read them.
_OVERRIDABLE_TEXT = ("image_id", "user_data", "market", "instance_profile_name")
_OVERRIDABLE_LIST = ("instance_types", "subnet_ids", "security_group_ids")


def _override(reader: Reader) -> Override:
    selector = Selector(reader.texts("type"), reader.texts("symbol"), reader.texts("model"))
    if selector.everything:
        reader.problems.append(f"{reader.path} must name a type, symbol or model")
    fields: list[tuple[str, Any]] = []
    for key in _OVERRIDABLE_TEXT:
        value = reader.text(key, choices=("on-demand", "spot") if key == "market" else ())
        if value:
            fields.append((key, value))
    for key in _OVERRIDABLE_LIST:
        values = reader.texts(key)
        if values:
            fields.append((key, values))
    override = Override(selector, tuple(fields), reader.mapping("configuration"))
    reader.done()
    return override


def _selector(reader: Reader) -> Selector:
    selector = Selector(reader.texts("types"), reader.texts("symbols"), reader.texts("models"))
    reader.done()
    return selector


def _protect(reader: Reader) -> dict[str, str]:
    given = reader.mapping("protect_tags")
    return {key: str(value) for key, value in given.items()} or {"Stateful": "true", "Protected": "true"}


def _on_change(reader: Reader) -> dict[str, str]:
    policy = {what: reader.text(what, how[0], choices=how) for what, how in ON_CHANGE.items()}
    reader.done()
    return policy


def _replace(reader: Reader) -> ReplaceSettings:
    batch = reader.integer("batch_size", 10, least=1, most=1000)
    result = ReplaceSettings(
        batch_size=batch,
        max_unavailable=reader.integer("max_unavailable", batch, least=1),
        surge=reader.flag("surge", True),
        force=reader.flag("force", False),
    )
    reader.done()
    return result


def _health(reader: Reader) -> HealthSettings:
    result = HealthSettings(
        check=reader.text("check", "status", choices=("status", "tag", "none")),
        tag=reader.text("tag", "Health"),
        value=reader.text("value", "ok"),
        timeout=reader.number("timeout", 300, least=1),
    )
    reader.done()
    return result


def _session(reader: Reader) -> Session | None:
    given = reader.has("session")
    own = reader.child("session")
    return Session.read(own) if given else None


def _rate_limits(reader: Reader) -> tuple[float, dict[str, Limit]]:
    factor = reader.number("factor", 1.0)
    limits: dict[str, Limit] = {}
    for operation, published in PUBLISHED_LIMITS.items():
        if not reader.has(operation):
            reader.child(operation)
            continue
        own = reader.child(operation)
        limits[operation] = Limit(
            own.number("bucket", published.bucket, least=1),
            own.number("refill", published.refill, least=0.01),
            own.number("resource_bucket", published.resource_bucket),
            own.number("resource_refill", published.resource_refill),
        )
        own.done()
    reader.done()
    return factor, limits
