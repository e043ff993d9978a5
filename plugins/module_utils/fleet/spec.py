# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every option of a fleet, once: type, default, limits, choices and text.

Derived from this table: argument spec and documentation of ``algo.trading.model_fleet``, checks and defaults of
`FleetSettings`, the document in the SSM parameter that the function ``trading_server`` reads, and the settings of the
role ``aws_trading_server``, which `tools/fleet_spec.py` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..models import DEFAULT_PATTERN
from .pacing import PUBLISHED_LIMITS


@dataclass(frozen=True)
class Option:
    """One option, in the terms of Ansible's argument specs. An empty value means that it is not given."""

    type: str
    text: str | tuple[str, ...]
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    # Of a list, or of the values of a dictionary without `options`.
    elements: str = ""
    least: float | None = None
    most: float | None = None
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def limits(self) -> str:
        if self.least is None:
            return ""
        return f"at least {self.least:g}" if self.most is None else f"between {self.least:g} and {self.most:g}"


def _texts(text: str, default: list[str] | None = None) -> Option:
    return Option("list", text, elements="str", default=default)


def _selector(what: str, names: str) -> dict[str, Option]:
    return {
        "types": _texts(f"{what} of these types. All if empty.", []),
        "symbols": _texts(f"{what} for these symbols. All if empty.", []),
        "models": _texts(f"{what} of these names, {names}. All if empty.", []),
    }


_NAMES = "C(model) or full C(name)"
_MARKETS = ("on-demand", "spot")
POWER = ("running", "keep", "stopped")

_SOURCE = Option(
    "dict",
    (
        "Where models are listed, and which of them get a server. The options are those of "
        "P(algo.trading.s3_models#lookup).",
        "Models in O(models) that these filters exclude get no server.",
    ),
    options={
        "bucket": Option("str", "Name of the bucket."),
        "owner": Option(
            "str",
            "Id of the account that the bucket belongs to. A bucket of another account is not read. Not checked if "
            "empty.",
        ),
        "prefix": Option("str", "Key prefix; only such keys are read. By default the literal prefix of the pattern."),
        "pattern": Option(
            "str",
            "A regular expression that matches the name of a model from the start of its key, with the named "
            "groups V(type), V(symbol), V(model), V(outer) and V(inner).",
            default=DEFAULT_PATTERN,
        ),
        **_selector("Only models", "as matched by the group V(model) of the pattern"),
        "on_invalid": Option(
            "str",
            "What to do about keys in the bucket that are not valid models. V(error) changes nothing while such a key "
            "exists.",
            default="warn",
            choices=("warn", "error", "ignore"),
        ),
        "require_manifest": Option(
            "bool",
            "Whether each model's folder has a C(manifest.json), uploaded last. A folder without one is still "
            "being published.",
            default=False,
        ),
        "exact": Option("bool", "Whether models of 1000 objects and more are listed completely.", default=False),
    },
)

_ROOT_VOLUME = Option(
    "dict",
    "The root volume.",
    options={
        "size": Option("int", "Size in GiB.", default=8, least=1, most=65536),
        "type": Option(
            "str", "Volume type.", default="gp3", choices=("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
        ),
        "iops": Option("int", "Operations per second, 0 for the type's default.", default=0, least=0),
        "throughput": Option("int", "MiB per second, 0 for the type's default.", default=0, least=0),
        "encrypted": Option("bool", "Whether it is encrypted.", default=True),
        "kms_key_id": Option("str", "Key for encryption, the account's default one if empty."),
        "device_name": Option("str", "Name of the image's root device.", default="/dev/xvda"),
    },
)

_OVERRIDES = Option(
    "list",
    "Launch settings for some of the models. Later entries override earlier ones. Models with different settings are "
    "launched in different groups.",
    elements="dict",
    default=[],
    options={
        "type": _texts("Model types that this applies to. All if empty."),
        "symbol": _texts("Symbols that this applies to. All if empty."),
        "model": _texts(f"Models that this applies to, by {_NAMES}. All if empty."),
        "image_id": Option("str", "Replaces O(image_id)."),
        "instance_types": _texts("Replaces O(instance_types)."),
        "subnet_ids": _texts("Replaces O(subnet_ids)."),
        "security_group_ids": _texts("Replaces O(security_group_ids)."),
        "instance_profile_name": Option("str", "Replaces O(instance_profile_name)."),
        "user_data": Option("str", "Replaces O(user_data)."),
        "market": Option("str", "Replaces O(market).", choices=_MARKETS),
        "configuration": Option("dict", "Merged into O(configuration) recursively."),
    },
)


def _change(text: str, *choices: str) -> Option:
    return Option("str", text, default=choices[0], choices=choices)


_ON_CHANGE = Option(
    "dict",
    (
        "What to do about an instance that differs from its desired settings.",
        "With V(replace) a new instance takes its place. With V(restart) its tags are updated and it is "
        "rebooted, or stopped, modified and started if the change requires that. A running spot instance cannot be "
        "stopped, so such a change replaces it. With V(reconfigure) only its tags are updated, and the host detects "
        "the change. With V(ignore) it is not changed.",
    ),
    options={
        "version": _change("A different version of the model.", "restart", "reconfigure", "replace", "ignore"),
        "configuration": _change(
            "Different O(configuration) or O(user_data).", "replace", "restart", "reconfigure", "ignore"
        ),
        "instance_type": _change(
            "A type that is no longer in O(instance_types). A type of another CPU architecture requires a replacement "
            "with a different image; anything else is held.",
            "replace",
            "restart",
            "ignore",
        ),
        "image": _change("A different O(image_id).", "replace", "ignore"),
        "launch": _change(
            "A different security group, profile, volume, market, monitoring or metadata setting.", "replace", "ignore"
        ),
        "subnet": _change("A subnet that is no longer in O(subnet_ids).", "ignore", "replace"),
    },
)

_REPLACE = Option(
    "dict",
    "How servers are replaced and restarted: in batches, each waiting until the previous one is healthy.",
    options={
        "batch_size": Option("int", "Servers per batch.", default=10, least=1, most=1000),
        "max_unavailable": Option(
            "int",
            "Maximum number of servers that may be unavailable or unhealthy at once, including those that already "
            "were. O(replace.batch_size) by default.",
            least=1,
        ),
        "surge": Option(
            "bool",
            "Whether replacements are launched before the old servers are terminated. They wait unclaimed, so a model "
            "never has two servers.",
            default=True,
        ),
    },
)

_SESSION = Option(
    "dict",
    (
        "The trading session. While it is open, no running server is restarted, replaced, stopped or terminated. These "
        "changes are held, with the reason. New servers are launched, and duplicates are terminated, at any time.",
        "Either a daily window (V(09:30) to V(16:00)), or date and time of one session, with UTC offset. A window "
        "whose close is before its open ends on the next day.",
    ),
    options={
        "open": Option("str", "When it opens. Required.", required=True),
        "close": Option("str", "When it closes. Required.", required=True),
        "timezone": Option("str", "Time zone of a daily window.", default="America/New_York"),
        "days": _texts("Days on which a daily window opens, V(mon) to V(sun).", ["mon", "tue", "wed", "thu", "fri"]),
    },
)

_HEALTH = Option(
    "dict",
    "Health check of a restarted or replaced server before the next batch.",
    options={
        "check": Option(
            "str",
            "With V(status) EC2's two status checks have passed. With V(tag) the instance has the tag O(health.tag) "
            "with the value O(health.value), set by the host or a monitor. With V(none) it is running.",
            default="status",
            choices=("status", "tag", "none"),
        ),
        "tag": Option("str", "Key of the health tag.", default="Health"),
        "value": Option("str", "The value that means healthy.", default="ok"),
        "timeout": Option("int", "Seconds to wait for health, per batch.", default=300, least=1),
    },
)

_RATE_LIMITS = Option(
    "dict",
    "EC2's request limits in this account and region, if they differ from the published ones.",
    options={
        "factor": Option("float", "Multiplies all published limits. 0 disables pacing.", default=1.0, least=0),
        **{
            operation: Option(
                "dict",
                f"Limits of C({operation}), each as published by default: V(bucket), V(refill), "
                "V(resource_bucket), V(resource_refill).",
                options={
                    "bucket": Option("float", "Requests at once.", least=1),
                    "refill": Option("float", "Requests per second.", least=0.01),
                    "resource_bucket": Option("float", "Instances at once. 0 for no limit.", least=0),
                    "resource_refill": Option("float", "Instances per second.", least=0),
                },
            )
            for operation in PUBLISHED_LIMITS
        },
    },
)

# What lasts: the fleet's document, the same for the module and for the function.
LASTING: Mapping[str, Option] = {
    "project": Option("str", "The project: first part of all names, value of the tag C(Project).", required=True),
    "environment": Option(
        "str", "The environment: last part of all names, value of the tag C(Environment).", required=True
    ),
    "component": Option("str", "Value of the tag C(Component).", default="trading_server"),
    "source": _SOURCE,
    "image_id": Option("str", "The AMI. Needed to create or replace."),
    "instance_types": Option(
        "list",
        (
            "Instance types in order of preference. The next one is tried when one has no capacity.",
            "An instance of any listed type is as desired. All types must have the CPU architecture of the image.",
        ),
        elements="str",
        default=[],
    ),
    "subnet_ids": _texts("Subnets. Models are spread evenly; if one has no capacity, the others are tried.", []),
    "security_group_ids": _texts("Security groups of the instances.", []),
    "instance_profile_name": Option("str", "Name of the instance profile."),
    "user_data": Option(
        "str",
        (
            "A script or cloud-config for cloud-init, run when a server first boots, after the configuration has been "
            "written.",
            "Together with O(configuration) it must fit into 16384 bytes, and the whole document of the fleet into "
            "8192 where the function is to read it.",
        ),
    ),
    "configuration": Option(
        "dict",
        "Configuration that is injected into every server through its user data. No secrets: anyone on the host can "
        "read it.",
        default={},
    ),
    "market": Option(
        "str",
        "Purchase option. V(spot) uses one-time requests; such an instance cannot be stopped, only terminated.",
        default="on-demand",
        choices=_MARKETS,
    ),
    "monitoring": Option("bool", "Whether detailed monitoring is enabled.", default=False),
    "metadata_hop_limit": Option(
        "int",
        "Hop limit of the instance metadata service. Version 2 is always required, tags are always readable.",
        default=1,
        least=1,
        most=64,
    ),
    "root_volume": _ROOT_VOLUME,
    "overrides": _OVERRIDES,
    "tags": Option(
        "dict",
        "Additional tags for the instances. Keys must not contain V(/) or spaces: EC2 refuses them when tags are "
        "readable from the metadata service. Other tags on an instance are not changed.",
        elements="str",
        default={},
    ),
    "selection": Option(
        "dict",
        "Only these models and their instances are considered; the rest of the fleet is not changed.",
        options=_selector("Models", f"by {_NAMES}"),
    ),
    "power": Option(
        "str",
        (
            "What to do about a stopped instance whose model is still listed.",
            "With V(running) it is started, as before the open.",
            "With V(keep) it is left stopped, and the plan says so. Use this for runs after the shutdown. New "
            "instances are still launched, and run until the next shutdown. The function trading_server still starts "
            "stopped instances before the open.",
            "With V(stopped) running instances are stopped and none is launched.",
        ),
        default="running",
        choices=POWER,
    ),
    "on_change": _ON_CHANGE,
    "replace": _REPLACE,
    "session": _SESSION,
    "calendar": Option(
        "dict",
        (
            "The exchange's calendar, whose sessions count as O(session) where that is not given: C(exchange), by "
            "default V(XNYS), and the days that differ from its published calendar: C(closed), a list of dates, "
            "C(early_closes), dates with the time of the close, and C(extra_sessions), dates with their hours.",
            "On a day that the calendar does not cover, the usual hours of a weekday count as a session.",
        ),
    ),
    "health": _HEALTH,
    "halt_parameter": Option(
        "str",
        (
            "Name of the SSM parameter that halts trading. Nothing is launched, started, restarted or replaced while "
            "its value is anything but V(false), V(off), V(no) or V(0), while it does not exist, or while it cannot "
            "be read. These changes are held, with the reason.",
            "Not checked if empty.",
        ),
    ),
    "protect_tags": Option(
        "dict",
        "An instance with one of these tags and values is not terminated or replaced.",
        elements="str",
        default={"Stateful": "true", "Protected": "true"},
    ),
    "max_terminate_share": Option(
        "float",
        "Maximum share of the fleet that one run may terminate because models are no longer listed or have a second "
        "server. Above it, nothing is terminated, launched or replaced, and the message names the servers; stopped "
        "servers of listed models are still started. Protects against an empty or truncated listing, a wrong bucket, "
        "a changed pattern, and tags edited by hand.",
        default=0.2,
        least=0,
        most=1,
    ),
    "launch_batch": Option("int", "Instances per C(RunInstances). AWS advises 100.", default=100, least=1, most=1000),
    "action_batch": Option(
        "int", "Instances per request that starts, stops, terminates or tags several.", default=500, least=1, most=1000
    ),
    "workers": Option("int", "Threads that claim instances.", default=16, least=1, most=64),
    "rate_limits": _RATE_LIMITS,
    "wait": Option("bool", "Whether to wait until launched or started instances are running.", default=True),
    "wait_timeout": Option("int", "Seconds to wait for running instances.", default=600, least=1),
    "claim_grace": Option(
        "int",
        "Seconds after which an unclaimed instance that no model needs is terminated. Until then another run may "
        "claim it. For as long after its launch, a second server of a model counts as launched by two runs at once: "
        "the newer one is terminated, at any time and not counted against O(max_terminate_share).",
        default=300,
        least=0,
    ),
}

# What a person may want for one run. Never part of the document, so the function never sees it.
ONCE = Option(
    "dict",
    "Options for this run only, which override the others.",
    options={
        "max_terminate_share": Option("float", "Replaces O(max_terminate_share).", least=0, most=1),
        "power": Option("str", "Replaces O(power).", choices=POWER),
        "selection": Option(
            "dict",
            "Replaces O(selection).",
            options={name: _texts(str(option.text)) for name, option in LASTING["selection"].options.items()},
        ),
        "force": Option("bool", "Whether to apply changes although the trading O(session) is open.", default=False),
    },
)

STATE = Option(
    "str",
    "With V(absent) all instances of this fleet are terminated, whatever O(models) says. Neither "
    "O(max_terminate_share) nor O(session) nor O(halt_parameter) applies then. Protected instances are kept and "
    "reported.",
    default="present",
    choices=("present", "absent"),
)

# What FleetSettings are made from.
DECIDING: Mapping[str, Option] = {**LASTING, "state": STATE, "once": ONCE}

# What the module has besides.
_RUN: Mapping[str, Option] = {
    "models": Option(
        "list",
        (
            "One dictionary per model, as P(algo.trading.s3_models#lookup) returns it. C(name), C(type), C(symbol) "
            "and C(model) are required; C(outer), C(inner), C(uri), C(version), C(status) and C(reason) are used; "
            "other keys are ignored.",
            "For a model whose C(status) is V(publishing), V(ambiguous), V(unverified) or V(unreadable), nothing is "
            "launched, restarted or replaced. Its server is not changed, and the plan holds the change with that "
            "reason. V(unreadable) fails the run, after everything else was done.",
            "C(name) identifies a model within the environment. An empty C(version) is never compared.",
            "Ignored when O(state=absent).",
        ),
        elements="dict",
        default=[],
    ),
    "halt_planned": Option(
        "str",
        "In check mode, the assumed value of O(halt_parameter) if it does not exist, because the same play would "
        "create it.",
    ),
    "save_plan": Option(
        "path",
        "File on the host that runs the module, to which the plan is written, for review and for O(apply_plan). "
        "Written in check mode too.",
    ),
    "apply_plan": Option(
        "path",
        "A file written by O(save_plan). Unless the run's own plan is the same, the run fails and shows the "
        "difference.",
    ),
    "capacity_memory": Option(
        "path",
        "File that caches for five minutes which types and subnets had no capacity, so that the next run skips "
        "them. Without it, the cache lasts for one run.",
    ),
    "progress_file": Option("path", "File to which progress lines are appended. The action plugin sets and shows it."),
    "show_table": Option(
        "str",
        "Which servers the table at the end shows: V(all), V(changed) or V(none).",
        default="changed",
        choices=("all", "changed", "none"),
    ),
    "summary": Option(
        "str",
        "Name of a variable whose value becomes the C(summary) of the run's end, as M(ansible.builtin.set_stats) would "
        "hand it on. Its templates can use C(result), what this task returns. The action plugin evaluates it.",
    ),
}

MODULE: Mapping[str, Option] = {**DECIDING, **_RUN}
