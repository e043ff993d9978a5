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
        "types": _texts(f"{what} of these types. All, if empty.", []),
        "symbols": _texts(f"{what} for these symbols. All, if empty.", []),
        "models": _texts(f"{what} of these names, {names}. All, if empty.", []),
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
            "Id of the account that the bucket belongs to. A bucket of another account is not read. Not checked, if "
            "empty.",
        ),
        "prefix": Option(
            "str", "Only keys that begin like this are read. By default, the literal beginning of the pattern."
        ),
        "pattern": Option(
            "str",
            "A regular expression that matches the name of a model from the beginning of its key, with the named "
            "groups V(type), V(symbol), V(model), V(outer) and V(inner).",
            default=DEFAULT_PATTERN,
        ),
        **_selector("Only models", "as the group V(model) of the pattern has them"),
        "on_invalid": Option(
            "str",
            "What to do about keys in the bucket that fit no model. V(error) changes nothing while there is such a "
            "key.",
            default="warn",
            choices=("warn", "error", "ignore"),
        ),
        "require_manifest": Option(
            "bool",
            "Whether each model's folder has a C(manifest.json), uploaded last. Then a folder without one is still "
            "being published.",
            default=False,
        ),
        "exact": Option("bool", "Whether models of 1000 objects and more are read to their end.", default=False),
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
    "Launch settings for some of the models. Later ones win over earlier ones. Models with different settings are "
    "launched in different groups.",
    elements="dict",
    default=[],
    options={
        "type": _texts("Model types that this is for. All, if empty."),
        "symbol": _texts("Symbols that this is for. All, if empty."),
        "model": _texts(f"Models that this is for, by {_NAMES}. All, if empty."),
        "image_id": Option("str", "Replaces O(image_id)."),
        "instance_types": _texts("Replaces O(instance_types)."),
        "subnet_ids": _texts("Replaces O(subnet_ids)."),
        "security_group_ids": _texts("Replaces O(security_group_ids)."),
        "instance_profile_name": Option("str", "Replaces O(instance_profile_name)."),
        "user_data": Option("str", "Replaces O(user_data)."),
        "market": Option("str", "Replaces O(market).", choices=_MARKETS),
        "configuration": Option("dict", "Is merged into O(configuration), nested dictionaries too."),
    },
)


def _change(text: str, *choices: str) -> Option:
    return Option("str", text, default=choices[0], choices=choices)


_ON_CHANGE = Option(
    "dict",
    (
        "What is done about an instance that is no longer as wanted.",
        "With V(replace) a new instance takes its place. With V(restart) its tags are brought up to date and it is "
        "rebooted, or stopped, modified and started where the change needs that. With V(reconfigure) only its tags "
        "are brought up to date, and the host is to notice. With V(ignore) it is left.",
    ),
    options={
        "version": _change("Another version of the model.", "restart", "reconfigure", "replace", "ignore"),
        "configuration": _change(
            "Other O(configuration) or O(user_data).", "replace", "restart", "reconfigure", "ignore"
        ),
        "instance_type": _change(
            "A type that is no longer in O(instance_types). To a type of another CPU architecture only a replacement "
            "with another image leads; anything else is held.",
            "replace",
            "restart",
            "ignore",
        ),
        "image": _change("Another O(image_id).", "replace", "ignore"),
        "launch": _change(
            "Another security group, profile, volume, market, monitoring or metadata setting.", "replace", "ignore"
        ),
        "subnet": _change("A subnet that is no longer in O(subnet_ids).", "ignore", "replace"),
    },
)

_REPLACE = Option(
    "dict",
    "How servers are replaced and restarted, batch by batch, each waiting for the health of the one before.",
    options={
        "batch_size": Option("int", "Servers per batch.", default=10, least=1, most=1000),
        "max_unavailable": Option(
            "int",
            "At most so many servers may be away or unhealthy at once. Those that were not healthy before count. As "
            "many as O(replace.batch_size) by default.",
            least=1,
        ),
        "surge": Option(
            "bool",
            "Whether successors are launched before the old servers end. They wait, unclaimed, so there are never two "
            "servers for one model.",
            default=True,
        ),
    },
)

_SESSION = Option(
    "dict",
    (
        "The trading session. While it is open, no running server is restarted, replaced, stopped or terminated. These "
        "lines are held, with the reason. New servers are launched, and duplicates are ended, at any time.",
        "Either a daily window (V(09:30) to V(16:00)), or the date and time of one session, with offset. A window "
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
    "What a restarted or replaced server must show before the next batch.",
    options={
        "check": Option(
            "str",
            "With V(status) EC2's two status checks are passed. With V(tag) the instance has the tag of O(health.tag) "
            "with the value of O(health.value), which the host or a monitor sets. With V(none) it runs.",
            default="status",
            choices=("status", "tag", "none"),
        ),
        "tag": Option("str", "The tag to look at.", default="Health"),
        "value": Option("str", "The value that means healthy.", default="ok"),
        "timeout": Option("int", "Seconds to wait for it, per batch.", default=300, least=1),
    },
)

_RATE_LIMITS = Option(
    "dict",
    "EC2's request limits in this account and region, where they are not AWS's published ones.",
    options={
        "factor": Option(
            "float", "Multiplies all of AWS's published numbers. 0 switches pacing off.", default=1.0, least=0
        ),
        **{
            operation: Option(
                "dict",
                f"Limits of C({operation}), each as published if it is not given: V(bucket), V(refill), "
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
    "project": Option("str", "The project, first part of all names and value of the tag C(Project).", required=True),
    "environment": Option(
        "str", "The environment, last part of all names and value of the tag C(Environment).", required=True
    ),
    "component": Option("str", "Value of the tag C(Component).", default="trading_server"),
    "source": _SOURCE,
    "image_id": Option("str", "The AMI. Needed to create or replace."),
    "instance_types": Option(
        "list",
        (
            "Instance types, best first. The next one is tried where there is no capacity for the one before.",
            "An instance whose type is in the list counts as wanted, also if it is not the first. All are of the CPU "
            "architecture of the image.",
        ),
        elements="str",
        default=[],
    ),
    "subnet_ids": _texts(
        "Subnets, over which the models are spread evenly. Where one has no capacity, the others are tried.", []
    ),
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
        "Configuration that is injected into every server through its user data. Not for secrets, which anybody on "
        "the host could read there.",
        default={},
    ),
    "market": Option(
        "str",
        "How capacity is bought. V(spot) uses one-time requests. Such an instance cannot be stopped, only ended.",
        default="on-demand",
        choices=_MARKETS,
    ),
    "monitoring": Option("bool", "Whether EC2's detailed monitoring is on.", default=False),
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
        "More tags for the instances. Keys may contain neither V(/) nor spaces, for EC2 refuses such keys where tags "
        "can be read from the metadata service. Tags that are on an instance but not here are left alone.",
        elements="str",
        default={},
    ),
    "selection": Option(
        "dict",
        "Only these models and their instances are looked at, the rest of the fleet is left alone.",
        options=_selector("Models", f"by {_NAMES}"),
    ),
    "power": Option(
        "str",
        (
            "What a stopped instance means whose model is still listed.",
            "With V(running) it is started. This is what opens the trading day.",
            "With V(keep) it is left stopped, with that reason in the plan. Use this for runs during the night, so "
            "that they do not fight the shutdown. New instances are still launched, and run until the next shutdown. "
            "The function trading_server, which opens the day, starts them all the same.",
            "With V(stopped) running ones are stopped and none is created.",
        ),
        default="running",
        choices=POWER,
    ),
    "on_change": _ON_CHANGE,
    "replace": _REPLACE,
    "session": _SESSION,
    "health": _HEALTH,
    "halt_parameter": Option(
        "str",
        (
            "Name of the SSM parameter that halts trading. Nothing is launched, started, restarted or replaced while "
            "its value is anything but V(false), V(off), V(no) or V(0), while it does not exist, or while it cannot "
            "be read. These lines are held, with the reason.",
            "Not looked at, if empty.",
        ),
    ),
    "protect_tags": Option(
        "dict",
        "An instance with one of these tags and values is neither terminated nor replaced.",
        elements="str",
        default={"Stateful": "true", "Protected": "true"},
    ),
    "max_terminate_share": Option(
        "float",
        "Share of the fleet that may be terminated in one run because models are no longer listed or have a second "
        "server. If it would be more, nothing is terminated, launched or replaced, and the message names them; stopped "
        "servers of listed models are started all the same. Guards against an empty or shrunken listing, a wrong "
        "bucket, a changed pattern, tags edited by hand.",
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
    "wait": Option("bool", "Whether to wait until what was launched or started is running.", default=True),
    "wait_timeout": Option("int", "Seconds to wait for it.", default=600, least=1),
    "claim_grace": Option(
        "int",
        "An unclaimed instance that no model needs is terminated after so many seconds, because until then another "
        "operator may be about to claim it.",
        default=300,
        least=0,
    ),
}

# What a person may want for one run. Never part of the document, so the function never sees it.
ONCE = Option(
    "dict",
    "What holds for this run only, whatever the other options say.",
    options={
        "max_terminate_share": Option("float", "Replaces O(max_terminate_share).", least=0, most=1),
        "power": Option("str", "Replaces O(power).", choices=POWER),
        "selection": Option(
            "dict",
            "Replaces O(selection).",
            options={name: _texts(str(option.text)) for name, option in LASTING["selection"].options.items()},
        ),
        "force": Option("bool", "Whether to go on although the trading O(session) is open.", default=False),
    },
)

STATE = Option(
    "str",
    "With V(absent) all instances of this fleet are terminated, whatever O(models) says. Neither "
    "O(max_terminate_share) nor O(session) nor O(halt_parameter) applies then. Protected instances stay, and are "
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
            "and C(model) are required; C(outer), C(inner), C(uri), C(version) and C(status) are used; other keys are "
            "ignored.",
            "From a model whose C(status) is V(publishing) nothing is launched, started anew or replaced. Its server "
            "stays as it is, and the plan holds the change with that reason.",
            "C(name) identifies a model within the environment. C(version) may be empty, then it is never compared.",
            "Ignored when O(state=absent).",
        ),
        elements="dict",
        default=[],
    ),
    "halt_planned": Option(
        "str",
        "In check mode, the value that O(halt_parameter) counts as having while it does not exist, because the same "
        "play would create it so.",
    ),
    "save_plan": Option(
        "path",
        "File on the host that runs the module, where the plan is written to, to be looked at and given to "
        "O(apply_plan) later. Written in check mode too.",
    ),
    "apply_plan": Option(
        "path",
        "A file that O(save_plan) has written. The run is refused, and shows the difference, unless its own plan is "
        "the same.",
    ),
    "capacity_memory": Option(
        "path",
        "File in which the module remembers for five minutes what had no capacity, so that the next run does not ask "
        "again. Without it, only the run itself remembers.",
    ),
    "progress_file": Option(
        "path", "File to which lines of progress are appended. The action plugin sets and shows it."
    ),
    "show_table": Option(
        "str",
        "Whether a table is shown at the end, of V(all) servers, of the V(changed) ones, or V(none).",
        default="changed",
        choices=("all", "changed", "none"),
    ),
}

MODULE: Mapping[str, Option] = {**DECIDING, **_RUN}
