# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From single measurements to the tables: medians, ratios, goals, and how the two environments compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

BEGIN, END = "<!-- make bench-site -->", "<!-- end of make bench-site -->"
_NONE = "-"
_TITLES = {"ours": "ours", "terraform": "Terraform"}
_COLUMNS = {"first": "first run / apply", "plan": "plan, unchanged", "unchanged": "unchanged run", "destroy": "destroy"}

# Kinds of ours, and the resource types of Terraform that are the same. The first type is counted against ours; the
# others are parts that ours sets with the thing itself.
SAME: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("VPC",), ("aws_vpc",)),
    (("subnet",), ("aws_subnet",)),
    (("internet gateway",), ("aws_internet_gateway",)),
    (("route table",), ("aws_route_table", "aws_route_table_association")),
    (("elastic address",), ("aws_eip",)),
    (("NAT gateway",), ("aws_nat_gateway",)),
    (("security group",), ("aws_security_group",)),
    (("VPC endpoint",), ("aws_vpc_endpoint",)),
    (("private DNS zone",), ("aws_route53_zone",)),
    (("DNS record",), ("aws_route53_record",)),
    (("IAM role",), ("aws_iam_role",)),
    (("IAM policy",), ("aws_iam_role_policy",)),
    (("instance profile",), ("aws_iam_instance_profile",)),
    (
        ("S3 bucket",),
        (
            "aws_s3_bucket",
            "aws_s3_bucket_versioning",
            "aws_s3_bucket_ownership_controls",
            "aws_s3_bucket_public_access_block",
            "aws_s3_bucket_server_side_encryption_configuration",
            "aws_s3_bucket_policy",
        ),
    ),
    (("life-cycle rule",), ("aws_s3_bucket_lifecycle_configuration",)),
    (("secret",), ("aws_secretsmanager_secret", "aws_secretsmanager_secret_version")),
    (("SSM parameter",), ("aws_ssm_parameter",)),
    (("SSM document",), ("aws_ssm_document",)),
    (("log group",), ("aws_cloudwatch_log_group",)),
    (("alarm",), ("aws_cloudwatch_metric_alarm",)),
    (("dashboard",), ("aws_cloudwatch_dashboard",)),
    (("SNS topic",), ("aws_sns_topic", "aws_sns_topic_policy")),
    (("SQS queue",), ("aws_sqs_queue", "aws_sqs_queue_policy")),
    (("Lambda function",), ("aws_lambda_function",)),
    (("asynchronous invocation",), ("aws_lambda_function_event_invoke_config",)),
    (("schedule group",), ("aws_scheduler_schedule_group",)),
    (("schedule",), ("aws_scheduler_schedule",)),
    (("database",), ("aws_db_instance",)),
    (("database subnet group",), ("aws_db_subnet_group",)),
    (("instance", "trading server"), ("aws_instance",)),
)

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Summary:
    """The rounds of one phase of one contestant. All but `best` are medians."""

    seconds: float
    best: float
    cpu_seconds: float
    calls: int
    processes: int | None


@dataclass(frozen=True)
class Goal:
    """A limit for a figure of ours, or for its ratio to a figure of Terraform's."""

    title: str
    figure: str
    phase: str
    limit: float
    peer_phase: str = ""


GOALS = (
    Goal("unchanged run ÷ `terraform plan`, seconds", "seconds", "unchanged", 0.5, "plan"),
    Goal("plan ÷ `terraform plan`, seconds", "seconds", "plan", 0.5, "plan"),
    Goal("first run ÷ `terraform apply`, seconds", "seconds", "first", 0.2, "first"),
    Goal("destroy ÷ `terraform destroy`, seconds", "seconds", "destroy", 0.2, "destroy"),
    Goal("unchanged run ÷ `terraform plan`, CPU seconds", "cpu_seconds", "unchanged", 1, "plan"),
    Goal("first run ÷ `terraform apply`, CPU seconds", "cpu_seconds", "first", 2, "first"),
    Goal("unchanged run, API calls", "calls", "unchanged", 155),
    Goal("first run, API calls", "calls", "first", 600),
)


def summary(rows: Rows, models: int, contestant: str, phase: str) -> Summary | None:
    """Medians over the rounds; None where nothing was measured."""
    found = [row for row in rows if (row["models"], row["contestant"], row["phase"]) == (models, contestant, phase)]
    if not found:
        return None
    counted = [row["processes"] for row in found if row["processes"] is not None]
    return Summary(
        seconds=median(row["seconds"] for row in found),
        best=min(row["seconds"] for row in found),
        cpu_seconds=median(row["cpu_seconds"] for row in found),
        calls=round(median(row["calls"] for row in found)),
        processes=round(median(counted)) if counted else None,
    )


def times(rows: Rows, models: int) -> str:
    """How often a first run and a plan of ours were measured."""
    counted = Counter(row["phase"] for row in rows if (row["models"], row["contestant"]) == (models, "ours"))
    return f"{models} models: {counted['first']} x first run, {counted['plan']} x plan"


def sizes(rows: Rows) -> list[int]:
    return sorted({row["models"] for row in rows})


def contestants(rows: Rows) -> list[str]:
    """Terraform first, as the figure to compare with."""
    present = {row["contestant"] for row in rows}
    return [name for name in ("terraform", "ours") if name in present]


def figures_table(rows: Rows) -> list[str]:
    """Seconds (median, then best where there are several rounds), CPU seconds, calls; for ours also processes."""
    lines = _head(["models", "", *_COLUMNS.values()])
    for models in sizes(rows):
        for contestant in contestants(rows):
            cells = [_cell(summary(rows, models, contestant, phase)) for phase in _COLUMNS]
            if set(cells) != {_NONE}:
                lines.append(_line([str(models), _TITLES[contestant], *cells]))
    return lines


def _cell(took: Summary | None) -> str:
    if took is None:
        return _NONE
    seconds = _seconds(took.seconds) + (f", best {_seconds(took.best)}" if took.best < took.seconds else "")
    processes = "" if took.processes is None else f", {took.processes} processes"
    return f"{seconds} ({_seconds(took.cpu_seconds)} CPU, {took.calls} calls{processes})"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def measured(goal: Goal, rows: Rows, models: int) -> float | None:
    """The figure that a goal is about; None where one of its parts was not measured."""
    ours = summary(rows, models, "ours", goal.phase)
    if ours is None:
        return None
    figure = float(getattr(ours, goal.figure))
    if not goal.peer_phase:
        return figure
    peer = summary(rows, models, "terraform", goal.peer_phase)
    return None if peer is None or not getattr(peer, goal.figure) else figure / float(getattr(peer, goal.figure))


def goals_table(rows: Rows) -> list[str]:
    """Each goal, its limit, and for each number of models whether it is met."""
    lines = _head(["goal", "at most", *(f"{models} models" for models in sizes(rows))])
    for goal in GOALS:
        cells = [_judged(goal, measured(goal, rows, models)) for models in sizes(rows)]
        lines.append(_line([goal.title, f"{goal.limit:g}", *cells]))
    return lines


def _judged(goal: Goal, value: float | None) -> str:
    if value is None:
        return _NONE
    shown = f"{value:.2f}" if goal.peer_phase else f"{value:.0f}"
    return f"{shown}, {'met' if value <= goal.limit else 'not met'}"


def comparison(ours: Mapping[str, int], terraform: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """How the two environments differ: a table of what Terraform counts apart, and what only one of them has."""
    parts, different = _head(["ours", "number", "Terraform", "number"]), []
    for kinds, types in SAME:
        here, there = sum(ours.get(kind, 0) for kind in kinds), terraform.get(types[0], 0)
        if here != there:
            different.append(f"{' and '.join(kinds)}: {here}; {types[0]}: {there}")
        if len(types) > 1:
            names = ", ".join(f"`{name}`" for name in types)
            counted = sum(terraform.get(name, 0) for name in types)
            parts.append(_line([", ".join(kinds), str(here), names, str(counted)]))
    parts.append(_line(["all", str(sum(ours.values())), "all", str(sum(terraform.values()))]))
    known_kinds = {kind for kinds, _types in SAME for kind in kinds}
    known_types = {name for _kinds, types in SAME for name in types}
    different += [f"{kind}: {ours[kind]}; no counterpart" for kind in sorted(set(ours) - known_kinds)]
    different += [f"{name}: {terraform[name]}; no counterpart" for name in sorted(set(terraform) - known_types)]
    return parts, different


def splice(text: str, block: Iterable[str]) -> str:
    """The document with the part between the markers replaced.

    :raises ValueError: if the markers are not there once each, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"The document needs {BEGIN} and {END}, once each and in this order.")
    return "\n".join([before + BEGIN, *block, END + after])


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + " --- |" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
