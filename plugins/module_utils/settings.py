# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of settings against each other. Plain values in, findings out; no AWS calls."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ._errors import InvalidInput
from ._subnets import MAX_ZONES, subnet_plan
from .fleet._settings_reader import problems_of
from .fleet.argument_spec import fleet_variables, source_variables
from .sessions import read_calendar

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"(?!xn--|sthree-)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ACCOUNT = re.compile(r"\d{12}")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|xlarge|\d+xlarge|metal(-\d+xl)?)")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
# No hyphen: names end in the environment, so qa would take the resources of an environment qa-eu for its own.
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]{1,15}")
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}|/[A-Za-z0-9_./-]+")
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
_SCHEDULE = re.compile(
    r"cron\(\S+( \S+){5}\)|rate\([1-9]\d* (minute|hour|day)s?\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)"
)
# Empty for none.
_OPTIONAL_SCHEDULES = ("aws_trading_server_check_schedule", "aws_trading_server_shutdown_early_schedule")
# A host stops its trader 30 s after the end of the drain (roles/trading_server) and has to report that.
_DRAIN_MARGIN = 60
# The shutdown sends commands before it waits for a drain; then it stops hosts, looks again and reports.
_FUNCTION_MARGIN = 120
_BUCKETS = ("algo_model_bucket", "algo_data_bucket", "algo_artifact_bucket")

Settings = Mapping[str, Any]


def unknown_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """A finding for every undeclared name, with the closest known one."""
    known = sorted(known)
    findings = []
    for name in sorted(names):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        meant = f"Did you mean {close[0]}?" if close else "docs/settings.md lists all settings."
        findings.append(f"{name}: is not a known setting. {meant}")
    return findings


def lasting_only(names: Iterable[str]) -> list[str]:
    """A finding for every name given for one run, on the command line, that must not hold for one run only.

    The identities' policies follow the layout of the model bucket. They last, and the function reads by them.
    """
    layout, given = source_variables(), set(names)
    return [
        f"{layout[option]}: decides what the environment's identities may read, so it cannot be set on the command "
        "line. Set it in settings.yml."
        for option in ("owner", "prefix", "pattern")
        if layout[option] in given
    ]


def contradictions(settings: Settings, others: Mapping[str, Settings]) -> list[str]:
    """Findings about one environment's settings by themselves and beside the other environments'.

    :param settings: the environment's effective settings.
    :param others: environment name → that environment's settings as far as they are known.
    """
    return [
        *_names(settings),
        *_account(settings),
        *_buckets(settings, others),
        *_network(settings, others),
        *_instance_types(settings),
        *_images(settings),
        *_times(settings),
        *_fleet(settings),
        *_trading(settings),
    ]


def _names(settings: Settings) -> Iterable[str]:
    project = str(settings.get("algo_project", ""))
    if not _PROJECT.fullmatch(project):
        yield (
            f"algo_project: {project!r} is not valid in names of buckets and databases. Use 3 to 32 lower-case "
            "letters, digits and hyphens, a letter first."
        )

    environment = str(settings.get("algo_environment", ""))
    if not _ENVIRONMENT.fullmatch(environment):
        yield (
            f"algo_environment: {environment!r} is not valid in names. Use 2 to 16 lower-case letters and digits, a "
            "letter first."
        )


def _account(settings: Settings) -> Iterable[str]:
    account = str(settings.get("algo_account_id", ""))
    if not _ACCOUNT.fullmatch(account):
        yield f"algo_account_id: {account!r} is not a valid AWS account id. Write 12 digits in quotes."
    region, regions = settings.get("algo_region"), list(settings.get("algo_regions") or ())
    if region not in regions:
        yield (
            f"algo_region: {region} is not a region of {settings.get('algo_environment')}. Its regions: "
            f"{', '.join(map(str, regions)) or 'none'}. Correct it, or add it to algo_regions."
        )


def _buckets(settings: Settings, others: Mapping[str, Settings]) -> Iterable[str]:
    own = {name: str(settings.get(name)) for name in _BUCKETS if settings.get(name)}
    for name, bucket in own.items():
        if not _BUCKET.fullmatch(bucket):
            yield f"{name}: {bucket!r} is not a valid bucket name. Use 3 to 63 of a-z, 0-9, hyphen, dot."
        for environment, other in sorted(others.items()):
            if bucket in {str(other.get(other_name)) for other_name in _BUCKETS}:
                yield (
                    f"{name}: {bucket} is already used by {environment}. {settings.get('algo_environment')} needs its "
                    "own bucket."
                )
    for name, bucket in own.items():
        twins = [other for other in own if other < name and own[other] == bucket]
        if twins:
            yield f"{name}: {bucket} is also set as {twins[0]}. Use a separate bucket for each purpose."


def _network(settings: Settings, others: Mapping[str, Settings]) -> Iterable[str]:
    if settings.get("aws_network_vpc_id"):
        if not settings.get("aws_network_private_subnet_ids"):
            yield "aws_network_private_subnet_ids: is empty. Set the subnets for hosts in the given VPC."
        return
    if settings.get("aws_network_private_subnet_ids"):
        yield "aws_network_private_subnet_ids: is set without aws_network_vpc_id. Set both or neither."
    cidr = settings.get("aws_network_cidr")
    try:
        network = IPv4Network(str(cidr))
        zones = min(int(settings.get("aws_network_zone_count") or 1), MAX_ZONES)
        subnet_plan(str(cidr), [f"zone-{letter}" for letter in "abcd"[:zones]])
    except ValueError as error:
        yield f"aws_network_cidr: {error}. Use a private range such as 10.30.0.0/16."
        return
    if not network.is_private:
        yield (
            f"aws_network_cidr: {cidr} is not a private range. Use one inside 10.0.0.0/8, 172.16.0.0/12 or "
            "192.168.0.0/16."
        )
    for environment, other in sorted(others.items()):
        if other.get("aws_network_vpc_id") or not other.get("aws_network_cidr"):
            continue
        try:
            clash = network.overlaps(IPv4Network(str(other["aws_network_cidr"])))
        except ValueError:
            continue  # that environment's own run reports it
        if clash:
            yield (
                f"aws_network_cidr: {cidr} overlaps {other['aws_network_cidr']} of {environment}; the two could "
                "never be peered. Choose another range."
            )


_TYPE_SETTINGS = frozenset({"instance_type", "instance_types", "types"})


def instance_types(settings: Settings) -> dict[str, list[str]]:
    """Setting → the instance types that it names; by the names that all roles use for such settings."""
    found: dict[str, list[str]] = {}
    for name, value in settings.items():
        if name.endswith("_instance_type") and value:
            found[name] = [str(value)]
        elif name.endswith("_instance_types") and value:
            found[name] = [str(item) for item in value]
    return found


def used_by(settings: Settings, components: Iterable[str]) -> dict[str, list[str]]:
    """What the hosts of some components are made from: ``instance_types``, and ``images`` by their labels.

    A component that is switched off needs none.
    """
    types, images = set[str](), set[str]()
    released = (settings.get("algo_release") or {}).get("images") or {}
    for component in components:
        prefix = f"aws_{component}_"
        named = {name: found for name, found in instance_types(settings).items() if name.startswith(prefix)}
        # Of trading_server and trading_server_shutdown, one name begins with the other.
        named = {name: found for name, found in named.items() if name.removeprefix(prefix) in _TYPE_SETTINGS}
        if named and settings.get(f"{prefix}enabled", True):
            types |= {item for found in named.values() for item in found}
            # A baked image has the component's own name.
            images.add(component if released.get(component) else str(settings.get(f"{prefix}image") or "host"))
    return {"instance_types": sorted(types), "images": sorted(images)}


def _instance_types(settings: Settings) -> Iterable[str]:
    for name, types in sorted(instance_types(settings).items()):
        for instance_type in types:
            if not _INSTANCE_TYPE.fullmatch(instance_type):
                yield f"{name}: {instance_type!r} is not a valid instance type. Examples: t4g.small, c7g.xlarge."


def _images(settings: Settings) -> Iterable[str]:
    images = (settings.get("algo_release") or {}).get("images") or {}
    for label, source in sorted(images.items()):
        if source is not None and not _IMAGE.fullmatch(str(source)):
            yield (
                f"algo_release.images.{label}: {source!r} is neither an image id (ami-…) nor a public SSM "
                "parameter path (/aws/service/…)."
            )


def _times(settings: Settings) -> Iterable[str]:
    zone = str(settings.get("algo_timezone"))
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        yield f"algo_timezone: {zone!r} is not a valid time zone. Use an IANA name such as America/New_York."
    try:
        read_calendar(settings.get("algo_calendar") or {})
    except InvalidInput as error:
        yield f"algo_calendar: {error.problem}."
    for name, value in sorted(settings.items()):
        if name in _OPTIONAL_SCHEDULES and value == "":
            continue
        if name.endswith("_schedule") and not _SCHEDULE.fullmatch(str(value)):
            yield (
                f"{name}: {value!r} is not a valid schedule. Use an EventBridge Scheduler expression "
                "such as cron(0 9 ? * MON-FRI *); cron needs six fields."
            )


def _trading(settings: Settings) -> Iterable[str]:
    """What the servers themselves would refuse, and a drain that SSM would cut off."""
    if settings.get("aws_trading_server_paper") is False and settings.get("algo_environment") != "prod":
        yield "aws_trading_server_paper: false trades money, which only prod may."
    drain, limit = (settings.get(f"aws_trading_server_{name}") for name in ("drain_seconds", "shutdown_drain_timeout"))
    if isinstance(drain, int) and isinstance(limit, int) and limit < drain + _DRAIN_MARGIN:
        yield (
            f"aws_trading_server_shutdown_drain_timeout: {limit} s end a drain of {drain} s too early. Use at least "
            f"{drain + _DRAIN_MARGIN} s, or a smaller aws_trading_server_drain_seconds."
        )
    function = settings.get("aws_trading_server_shutdown_timeout")
    if isinstance(function, int) and isinstance(limit, int) and function < limit + _FUNCTION_MARGIN:
        yield (
            f"aws_trading_server_shutdown_timeout: {function} s end the function before a drain of {limit} s. Use at "
            f"least {limit + _FUNCTION_MARGIN} s (Lambda allows 900), or a smaller "
            "aws_trading_server_shutdown_drain_timeout."
        )


def _fleet(settings: Settings) -> Iterable[str]:
    """The fleet's own options, read as the module and the function will read them."""
    given = {name: settings[variable] for name, variable in fleet_variables().items() if settings.get(variable)}
    source = {name: settings[variable] for name, variable in source_variables().items() if settings.get(variable)}
    variables = fleet_variables() | {f"source.{name}": variable for name, variable in source_variables().items()}
    for problem in problems_of({"project": "some", "environment": "some", "source": source, **given}):
        option = re.split(r"[ :]", problem, maxsplit=1)[0]
        # "source.owner" is one setting; "root_volume.size" and "overrides[0]" are a part of one.
        name = option if option in variables else re.split(r"[.\[]", option, maxsplit=1)[0]
        if name == "source.owner" and source["owner"] == settings.get("algo_account_id"):
            continue  # follows from the account, which is reported itself
        if name in variables:
            yield f"{variables[name]}: {problem}"
