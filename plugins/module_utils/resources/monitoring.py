# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log groups and metric alarms, as amazon.aws manages them, and dashboards, which no other collection does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._aws import Api, meaning, pages, read_each, unless_missing
from .._naming import Scope
from .._tags import tag_dict
from ..cloudwatch_dashboard import MISSING, find_dashboard
from ._model import Found, ResourceType, Settings

# ---- log group ----

_LAMBDA_LOGS = "/aws/lambda/"


def _owns_log_group(scope: Scope, name: str) -> bool:
    if name.startswith(_LAMBDA_LOGS):
        return scope.owns_name(name.removeprefix(_LAMBDA_LOGS))
    return name.startswith(f"{scope.parameter()}/")


def _read_log_groups(clients: Any, scope: Scope) -> Iterable[Found]:
    logs = clients("logs")

    def of(prefix: str) -> list[Settings]:
        groups = pages(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)
        return [group for group in groups if _owns_log_group(scope, group["logGroupName"])]

    def read(group: Settings) -> list[Found]:
        name, arn = group["logGroupName"], group["arn"].removesuffix(":*")
        answer = unless_missing(logs.list_tags_for_resource, "ResourceNotFoundException", resourceArn=arn)
        if answer is None:
            return []
        tags = dict(answer.get("tags") or {})
        settings = {
            "log_group_name": name,
            "retention": group.get("retentionInDays"),
            "kms_key_id": group.get("kmsKeyId"),
            "tags": tags,
        }
        return [Found(name, settings, {"arn": arn}, tags)]

    return read_each(read, read_each(of, (f"{_LAMBDA_LOGS}{scope.project}-", f"{scope.parameter()}/")))


LOG_GROUP = ResourceType(
    module="amazon.aws.cloudwatchlogs_log_group",
    absent={"DescribeLogGroups": {"logGroups": []}},
    service="logs",
    title="log group",
    read=_read_log_groups,
    compared=frozenset({"log_group_name", "retention", "kms_key_id", "tags"}),
    name_argument="log_group_name",
    # The module sets a key when it makes the group, never later.
    force_new=frozenset({"kms_key_id"}),
    # These two would throw logs away.
    steering=frozenset({"purge_retention_policy", "overwrite"}),
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": str(result.get("arn", "")).removesuffix(":*") or None},
    # After the function that could write to it once more.
    destroy_order=40,
)


# ---- alarm ----

_ALARM_FIELDS = {
    "description": "AlarmDescription",
    "metric_name": "MetricName",
    "namespace": "Namespace",
    "statistic": "Statistic",
    "comparison": "ComparisonOperator",
    "threshold": "Threshold",
    "period": "Period",
    "evaluation_periods": "EvaluationPeriods",
    "datapoints_to_alarm": "DatapointsToAlarm",
    "unit": "Unit",
}
_ACTIONS = {
    "alarm_actions": "AlarmActions",
    "ok_actions": "OKActions",
    "insufficient_data_actions": "InsufficientDataActions",
}


def _normalize_alarm(arguments: Settings) -> Settings:
    return {
        name: float(value) if name == "threshold" else value
        for name, value in arguments.items()
        # CloudWatch keeps no empty description.
        if not (name == "description" and value == "")
    }


def _read_alarms(clients: Any, scope: Scope) -> Iterable[Found]:
    cloudwatch = clients("cloudwatch")

    def read(alarm: Settings) -> list[Found]:
        name, arn = alarm["AlarmName"], alarm["AlarmArn"]
        answer = unless_missing(
            cloudwatch.list_tags_for_resource, "ResourceNotFoundException", "ResourceNotFound", ResourceARN=arn
        )
        if answer is None:
            return []
        tags = tag_dict(answer.get("Tags"))
        settings: Settings = {
            "name": name,
            **{option: alarm[field] for option, field in _ALARM_FIELDS.items() if alarm.get(field) is not None},
            **{option: list(alarm.get(field) or ()) for option, field in _ACTIONS.items()},
            "dimensions": {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions") or ()},
            "treat_missing_data": alarm.get("TreatMissingData") or "missing",
            "tags": tags,
        }
        # Making an alarm and tagging it are two calls; one without tags that tells only us is an interrupted run's.
        told = [action.rpartition(":")[2] for action in settings["alarm_actions"]]
        unfinished = not tags and bool(told) and all(map(scope.owns_name, told))
        return [Found(name, settings, {"arn": arn}, tags, unfinished=unfinished)]

    alarms = pages(cloudwatch, "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{scope.project}-")
    return read_each(read, [alarm for alarm in alarms if scope.owns_name(alarm["AlarmName"])])


ALARM = ResourceType(
    module="amazon.aws.cloudwatch_metric_alarm",
    absent={"DescribeAlarms": {"MetricAlarms": [], "CompositeAlarms": []}},
    service="cloudwatch",
    title="alarm",
    read=_read_alarms,
    compared=frozenset({"name", "dimensions", "treat_missing_data", "tags", *_ALARM_FIELDS, *_ACTIONS}),
    normalize=_normalize_alarm,
    separate_tags=True,
    unordered=frozenset(_ACTIONS),
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": result.get("alarm_arn")},
    destroy_order=14,
)


# ---- dashboard ----


def dashboard_names(scope: Scope) -> list[str]:
    return [scope.name("trading_server_shutdown", "day")]


def _read_dashboards(clients: Any, scope: Scope) -> Iterable[Found]:
    # By name: a listing of the account's dashboards would tell neither tags nor bodies.
    api = Api(clients("cloudwatch"), *MISSING)
    for name in dashboard_names(scope):
        found = find_dashboard(api, name)
        if found:
            settings = {option: found[option] for option in ("name", "body", "tags")}
            yield Found(name, settings, {"arn": found["arn"]}, found["tags"])


DASHBOARD = ResourceType(
    module="algo.trading.cloudwatch_dashboard",
    absent={"GetDashboard": "ResourceNotFound"},
    service="cloudwatch",
    title="dashboard",
    read=_read_dashboards,
    compared=frozenset({"name", "body", "tags"}),
    normalize=lambda arguments: {
        name: meaning(value) if name == "body" else value for name, value in arguments.items()
    },
    computed=(),
    # It shows the alarms.
    destroy_order=13,
)

TYPES = (LOG_GROUP, ALARM, DASHBOARD)
