"""The resources that a request names, for services whose operations all name them in the same few ways.

What `needs` does not say of an operation is looked up here, so that an operator's permissions can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import account
from .parameters import Parameters

# Service: parameters that name its resource, and what the ARN's last part then is. The first that is given counts.
_NAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "cloudwatch": (("ResourceARN", ""), ("AlarmName", "alarm:{}"), ("AlarmNames", "alarm:{}")),
    "iam": (("InstanceProfileName", "instance-profile/{}"), ("RoleName", "role/{}")),
    "lambda": (("FunctionName", "function:{}"),),
    "logs": (("resourceArn", ""), ("logGroupName", "log-group:{}")),
    "rds": (
        ("ResourceName", ""),
        ("DBSnapshotIdentifier", "snapshot:{}"),
        ("DBInstanceIdentifier", "db:{}"),
        ("DBSubnetGroupName", "subgrp:{}"),
    ),
    "scheduler": (),
    "secretsmanager": (("SecretId", "secret:{}-??????"), ("Name", "secret:{}-??????")),
    "sns": (("TopicArn", ""), ("ResourceArn", ""), ("Name", "{}")),
    "ssm": (("Name", "parameter/{}"),),
    "sqs": (("QueueName", "{}"), ("QueueUrl", "{}")),
}
# S3's and Lambda's actions whose names are not their operations'.
_ACTIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:ListBucketInventoryConfigurations": "s3:GetInventoryConfiguration",
    "s3:GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3:PutBucketNotificationConfiguration": "s3:PutBucketNotification",
}
# Operation that tags what it makes: the parameter with the tags, and the action that is needed for it.
_TAGGING = {
    "cloudwatch:PutDashboard": ("Tags", "cloudwatch:TagResource"),
    "cloudwatch:PutMetricAlarm": ("Tags", "cloudwatch:TagResource"),
    "iam:CreateInstanceProfile": ("Tags", "iam:TagInstanceProfile"),
    "iam:CreateRole": ("Tags", "iam:TagRole"),
    "lambda:CreateFunction": ("Tags", "lambda:TagResource"),
    "logs:CreateLogGroup": ("tags", "logs:TagResource"),
    "rds:CreateDBInstance": ("Tags", "rds:AddTagsToResource"),
    "rds:CreateDBSnapshot": ("Tags", "rds:AddTagsToResource"),
    "rds:CreateDBSubnetGroup": ("Tags", "rds:AddTagsToResource"),
    "scheduler:CreateScheduleGroup": ("Tags", "scheduler:TagResource"),
    "secretsmanager:CreateSecret": ("Tags", "secretsmanager:TagResource"),
    "sns:CreateTopic": ("Tags", "sns:TagResource"),
    "sqs:CreateQueue": ("tags", "sqs:TagQueue"),
    "ssm:CreateDocument": ("Tags", "ssm:AddTagsToResource"),
    "ssm:PutParameter": ("Tags", "ssm:AddTagsToResource"),
}
# What of EC2 an id's beginning stands for.
_EC2 = {
    "acl": "network-acl", "ami": "image", "eipalloc": "elastic-ip", "eni": "network-interface", "i": "instance",
    "igw": "internet-gateway", "nat": "natgateway", "rtb": "route-table", "sg": "security-group", "snap": "snapshot",
    "subnet": "subnet", "vol": "volume", "vpc": "vpc", "vpce": "vpc-endpoint",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """An action and the ARN that it is for; `ec2` is the id, where it is a thing of EC2's."""

    action: str
    arn: str
    ec2: str = ""


def named(service: str, operation: str, region: str, given: Parameters) -> Iterator[Named]:
    """Everything that a request acts on, `*` where it names nothing."""
    name = f"{service}:{operation}"
    action = _ACTIONS.get(name, name)
    arns = list(_arns(service, operation, region, given))
    yield from (Named(action, arn, id_) for arn, id_ in arns or [("*", "")])
    if name in _TAGGING and given.has(_TAGGING[name][0]):
        yield from (Named(_TAGGING[name][1], arn) for arn, _id in arns)


def _arns(service: str, operation: str, region: str, given: Parameters) -> Iterator[tuple[str, str]]:
    """ARN, and EC2's id."""
    if service == "ec2":
        if not operation.startswith("Describe"):
            ids = (associated(id_, region) for id_ in given.ids())
            yield from ((ec2_arn(id_, region), id_) for id_ in ids if id_.partition("-")[0] in _EC2)
        return
    special: Callable[[str, str, Parameters], Iterator[str]] | None = _SPECIAL.get(service)
    if special is not None and (found := list(special(operation, region, given))):
        yield from ((arn, "") for arn in found)
        return
    for parameter, shape in _NAMED.get(service, ()):
        values = given.many(parameter) or [value for value in [given.one(parameter)] if value]
        if values:
            yield from ((_own(service, region, shape, value), "") for value in values)
            return


def associated(id_: str, region: str) -> str:
    """What an association's id stands for: its route table, its address."""
    backend = account.backend("ec2", region)
    if id_.startswith("rtbassoc-"):
        return next((each.id for each in backend.route_tables.values() if id_ in each.all_associations_ids), id_)
    if id_.startswith("eipassoc-"):
        return next((str(each.allocation_id) for each in backend.addresses if each.association_id == id_), id_)
    return id_


def ec2_arn(id_: str, region: str) -> str:
    """The ARN of a thing of EC2's."""
    kind = _EC2.get(id_.partition("-")[0], "*")
    owner = "" if kind in ("image", "snapshot") else account.account_id()
    return f"arn:{account.PARTITION}:ec2:{region}:{owner}:{kind}/{id_}"


def _own(service: str, region: str, shape: str, value: str) -> str:
    if not shape or value.startswith("arn:"):
        return value
    where = "" if service in ("iam", "route53") else region
    value = value.rpartition("/")[2] if value.startswith("http") else value.lstrip("/") if "/{}" in shape else value
    return f"arn:{account.PARTITION}:{service}:{where}:{account.account_id()}:{shape.format(value)}"


def _cloudwatch(_operation: str, _region: str, given: Parameters) -> Iterator[str]:
    """Dashboards belong to no region."""
    names = filter(None, [given.one("DashboardName"), *given.many("DashboardNames")])
    yield from (f"arn:{account.PARTITION}:cloudwatch::{account.account_id()}:dashboard/{name}" for name in names)


def _in_path(*kinds: str) -> Any:
    """The ARN or the name behind one of these parts of the path."""

    def found(_operation: str, region: str, given: Parameters) -> Iterator[str]:
        parts = given.path.strip("/").split("/")
        for kind in kinds:
            if kind in parts[:-1]:
                rest = "/".join(parts[parts.index(kind) + 1 :])
                if rest.startswith("arn:"):
                    yield rest
                else:
                    name = rest.split("/")[0].rpartition(":function:")[2]
                    yield _own("lambda", region, "function:{}", name)
                return

    return found


def _scheduler(_operation: str, region: str, given: Parameters) -> Iterator[str]:
    kind, _, name = given.path.strip("/").partition("/")
    if kind == "tags":
        yield name
    elif kind == "schedule-groups" and name:
        yield _own("scheduler", region, "schedule-group/{}", name)
    elif kind == "schedules" and name:
        group = given.one("GroupName") or given.one("groupName") or "default"
        yield _own("scheduler", region, f"schedule/{group}/{{}}", name)


def _route53(_operation: str, _region: str, given: Parameters) -> Iterator[str]:
    parts = given.path.strip("/").split("/")
    if "hostedzone" in parts[:-1]:
        yield f"arn:{account.PARTITION}:route53:::hostedzone/{parts[parts.index('hostedzone') + 1]}"


def _s3(_operation: str, _region: str, given: Parameters) -> Iterator[str]:
    bucket, _, key = given.path.lstrip("/").partition("/")
    if bucket:
        yield f"arn:{account.PARTITION}:s3:::{bucket}" + (f"/{key}" if key else "")


def _ssm(operation: str, region: str, given: Parameters) -> Iterator[str]:
    kinds = {"Document": "document", "Parameter": "parameter"}
    if given.one("ResourceType") in kinds:
        yield _own("ssm", region, f"{kinds[given.one('ResourceType')]}/{{}}", given.one("ResourceId"))
    elif "Document" in operation and given.one("Name"):
        yield _own("ssm", region, "document/{}", given.one("Name"))
    for name in given.many("Names"):
        yield _own("ssm", region, "parameter/{}", name)


def _sns(operation: str, _region: str, _given: Parameters) -> Iterator[str]:
    if operation in ("Unsubscribe", "GetSubscriptionAttributes", "ListTopics"):  # know no resources
        yield "*"


_SPECIAL: dict[str, Any] = {
    "cloudwatch": _cloudwatch,
    "lambda": _in_path("functions", "tags"),
    "route53": _route53,
    "s3": _s3,
    "scheduler": _scheduler,
    "sns": _sns,
    "ssm": _ssm,
}
