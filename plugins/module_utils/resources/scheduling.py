# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules of EventBridge Scheduler and their groups. A schedule has no tags of its own: it is its group's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .._aws import Api, meaning, pages, read_each, unless_missing
from .._naming import Scope
from .._schedules import MISSING, find_schedule, request_form, schedule_view
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings, States

# What AWS gives a schedule that says nothing about retries.
_RETRIES = {"maximum_event_age_in_seconds": 86400, "maximum_retry_attempts": 185}


# ---- group ----


def _groups(reading: Any, scope: Scope) -> list[tuple[Settings, dict[str, str]]]:
    """Schedule groups with their tags, which the groups and the schedules need."""
    found: list[tuple[Settings, dict[str, str]]] = reading.once(
        "schedule groups", lambda: list(_read_tagged_groups(reading, scope))
    )
    return found


def _read_tagged_groups(clients: Any, scope: Scope) -> Iterable[tuple[Settings, dict[str, str]]]:
    scheduler = clients("scheduler")

    def read(group: Settings) -> list[tuple[Settings, dict[str, str]]]:
        answer = unless_missing(scheduler.list_tags_for_resource, *MISSING, ResourceArn=group["Arn"])
        return [] if answer is None else [(group, tag_dict(answer.get("Tags")))]

    groups = pages(scheduler, "list_schedule_groups", "ScheduleGroups", NamePrefix=f"{scope.project}-")
    return read_each(
        read, [group for group in groups if scope.owns_name(group["Name"]) and group.get("State") != "DELETING"]
    )


def _read_groups(clients: Any, scope: Scope) -> Iterable[Found]:
    for group, tags in _groups(clients, scope):
        yield Found(
            group["Name"],
            {"name": group["Name"], "tags": tags},
            {"arn": group["Arn"], "state": group.get("State")},
            tags,
        )


GROUP = ResourceType(
    module="algo.trading.scheduler_schedule_group",
    absent={"GetScheduleGroup": "ResourceNotFoundException"},
    service="scheduler",
    title="schedule group",
    read=_read_groups,
    compared=frozenset({"name", "tags"}),
    states=States(healthy=frozenset({"active"}), transitional=frozenset({"deleting"})),
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": (result.get("schedule_group") or {}).get("arn")},
    delete_arguments=lambda found: {"wait": True},
    destroy_order=12,
)


# ---- schedule ----


def _target(target: Settings) -> Settings:
    """A desired or actual target, in one shape: input as what its JSON says, retries with AWS's own defaults."""
    shaped = {name: value for name, value in target.items() if value not in (None, "", {})}
    if "input" in shaped:
        shaped["input"] = meaning(shaped["input"])  # the target may take plain text
    return {**shaped, "retry_policy": {**_RETRIES, **(shaped.get("retry_policy") or {})}}


def _normalize_schedule(arguments: Settings) -> Settings:
    return {name: _target(value) if name == "target" else value for name, value in arguments.items()}


def _read_schedules(clients: Any, scope: Scope) -> Iterable[Found]:
    scheduler = clients("scheduler")
    api = Api(scheduler, *MISSING)
    groups = {group["Name"]: tags for group, tags in _groups(clients, scope)}

    def read(entry: Settings) -> list[Found]:
        group, name = entry["GroupName"], entry["Name"]
        described = find_schedule(api, name, group)
        return [] if described is None else [_schedule(group, described, scope.owns(groups[group]))]

    # One list of all groups' schedules, not one for each group.
    entries = pages(scheduler, "list_schedules", "Schedules") if groups else ()
    return read_each(read, [entry for entry in entries if entry["GroupName"] in groups])


def _schedule(group: str, described: Settings, ours: bool) -> Found:
    view = schedule_view(request_form(described))
    settings = {
        **{name: value for name, value in view.items() if not isinstance(value, datetime)},
        "description": view.get("description", ""),
        "enabled": view["state"] == "ENABLED",
        "target": _target(view["target"]),
    }
    settings.pop("state", None)
    # Other resource types have the same name as a group; this one's tags alone decide.
    return Found(f"{group}/{described['Name']}", settings, {"arn": described["Arn"]}, owner=group if ours else "")


SCHEDULE = ResourceType(
    module="algo.trading.scheduler_schedule",
    absent={"GetSchedule": "ResourceNotFoundException"},
    service="scheduler",
    title="schedule",
    read=_read_schedules,
    compared=frozenset(
        {
            "name",
            "group_name",
            "description",
            "enabled",
            "schedule_expression",
            "schedule_expression_timezone",
            "flexible_time_window",
            "action_after_completion",
            "kms_key_arn",
            "target",
        }
    ),
    tagged=False,
    # Known by group and name together; the arguments carry both.
    name_argument=None,
    steering=frozenset({"role_timeout"}),
    normalize=_normalize_schedule,
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": (result.get("schedule") or {}).get("arn")},
    delete_arguments=lambda found: {name: found["settings"][name] for name in ("name", "group_name")},
    destroy_order=10,
)

TYPES = (GROUP, SCHEDULE)
