"""What a request needs: actions on resources, with the context keys that our policies and AWS's documents speak of.

Written from the Service Authorization Reference (https://docs.aws.amazon.com/service-authorization/latest/reference/),
for what hosts and functions call; everything else acts on the resources that it names (`resources`). Called under
moto's lock: tags come from its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import account, resources
from .parameters import Parameters
from .recording import Request

Context = dict[str, "str | list[str]"]


@dataclass(frozen=True)
class Need:
    """One action on one resource."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


_IAM_NAMES = {"cloudwatch": "cloudwatch", "resourcegroupstaggingapi": "tag", "elbv2": "elasticloadbalancing"}


def needs(request: Request) -> Iterator[Need]:
    """Everything that a request needs."""
    scope = _Scope(request)
    own = _OPERATIONS.get((request.service, request.operation))
    common: Context = {
        "aws:RequestedRegion": request.region,
        "aws:ResourceAccount": account.account_id(),  # there is no other account
        "aws:SecureTransport": "false",
    }
    for need in own(scope) if own else scope.by_default():
        yield Need(need.action, need.resource, {**common, **need.context})


class _Scope:
    def __init__(self, request: Request) -> None:
        self.request = request
        self.given = Parameters(request)
        self.action = f"{_IAM_NAMES.get(request.service, request.service)}:{request.operation}"
        self.region, self.account = request.region, account.account_id()

    def arn(self, service: str, rest: str) -> str:
        return f"arn:{account.PARTITION}:{service}:{self.region}:{self.account}:{rest}"

    def by_default(self) -> Iterator[Need]:
        service, operation = self.action.split(":", 1)
        for found in resources.named(service, operation, self.region, self.given):
            tags = self._tags(found.ec2) if found.ec2 else {}
            yield Need(found.action, found.arn, _tagged("aws:ResourceTag", tags))
        if service == "ec2":
            for kind, tags in self.created().items():
                yield from self.making(kind, tags)

    def created(self) -> dict[str, dict[str, str]]:
        """Kinds of EC2's things that a request makes, with the tags that it gives them."""
        given, found = self.given, {}
        for number in range(1, 8):
            if kind := given.one(f"TagSpecification.{number}.ResourceType"):
                found[kind] = given.pairs(f"TagSpecification.{number}.Tag")
        return found

    def making(self, kind: str, tags: dict[str, str], **context: str) -> Iterator[Need]:
        """To make a thing of EC2's, and to tag it at once."""
        new = self.arn("ec2", f"{kind}/*")
        yield Need(self.action, new, {**context, **_requested(tags)})
        if tags:
            yield Need("ec2:CreateTags", new, {**_requested(tags), "ec2:CreateAction": self.request.operation})

    def instance(self, instance_id: str, action: str = "", **context: str) -> Need:
        return Need(
            action or self.action,
            self.arn("ec2", f"instance/{instance_id}"),
            {**_tagged("aws:ResourceTag", self._tags(instance_id)), **context},
        )

    def _tags(self, resource: str) -> dict[str, str]:
        return account.tags_of(resource, self.region)

    def resource(self, kind: str, resource: str) -> Need:
        return Need(
            self.action, self.arn("ec2", f"{kind}/{resource}"), _tagged("aws:ResourceTag", self._tags(resource))
        )


def _tagged(prefix: str, tags: dict[str, str]) -> Context:
    found: Context = {f"{prefix}/{name}": value for name, value in tags.items()}
    if prefix == "aws:ResourceTag":  # EC2 and SSM know the same tags under names of their own as well
        found |= {f"ec2:ResourceTag/{name}": value for name, value in tags.items()}
        found |= {f"ssm:resourceTag/{name}": value for name, value in tags.items()}
    return found


# EC2


def _instances(scope: _Scope) -> Iterator[Need]:
    ids = scope.given.many("InstanceId") or [scope.given.one("InstanceId")]
    yield from (scope.instance(instance_id) for instance_id in ids if instance_id)


def _create_tags(scope: _Scope) -> Iterator[Need]:
    tags = scope.given.pairs("Tag")
    for resource in scope.given.many("ResourceId"):
        context = {**_tagged("aws:ResourceTag", account.tags_of(resource, scope.region)), **_requested(tags)}
        yield Need(scope.action, resources.ec2_arn(resource, scope.region), context)


def _requested(tags: dict[str, str]) -> Context:
    return {**_tagged("aws:RequestTag", tags), **({"aws:TagKeys": list(tags)} if tags else {})}


def _run_instances(scope: _Scope) -> Iterator[Need]:
    given = scope.given
    tags = scope.created()
    profile = given.one("IamInstanceProfile.Arn") or _profile_arn(given.one("IamInstanceProfile.Name"))
    common = {
        "ec2:InstanceType": given.one("InstanceType"),
        "ec2:MetadataHttpTokens": given.one("MetadataOptions.HttpTokens") or "optional",
        "ec2:MetadataHttpEndpoint": given.one("MetadataOptions.HttpEndpoint") or "enabled",
        **({"ec2:InstanceProfile": profile} if profile else {}),
    }
    image = given.one("ImageId")
    yield Need(scope.action, f"arn:{account.PARTITION}:ec2:{scope.region}::image/{image}", _image(scope, image))
    for kind in ("instance", "volume", "network-interface"):
        yield from scope.making(kind, tags.get(kind, {}), **(common if kind == "instance" else {}))
    subnet = given.one("SubnetId") or given.one("NetworkInterface.1.SubnetId")
    if subnet:
        yield scope.resource("subnet", subnet)
    for group in given.many("SecurityGroupId") or given.many("NetworkInterface.1.SecurityGroupId"):
        yield scope.resource("security-group", group)
    if profile:
        yield from _passed_roles(profile)


def _image(scope: _Scope, image: str) -> Context:
    found = account.backend("ec2", scope.region).amis.get(image)
    # Amazon's are known by its alias.
    owner = {"ec2:Owner": str(found.owner_alias or found.owner_id or "")} if found else {}
    return {**owner, **_tagged("aws:ResourceTag", account.tags_of(image, scope.region))}


def _profile_arn(name: str) -> str:
    return f"arn:{account.PARTITION}:iam::{account.account_id()}:instance-profile/{name}" if name else ""


def _passed_roles(profile: str) -> Iterator[Need]:
    to_ec2: Context = {"iam:PassedToService": "ec2.amazonaws.com"}
    for each in account.backend("iam", account.PARTITION).instance_profiles.values():
        if each.arn == profile:
            yield from (Need("iam:PassRole", role.arn, to_ec2) for role in each.roles)


# SSM


def _send_command(scope: _Scope) -> Iterator[Need]:
    document = scope.given.one("DocumentName")
    owner = "" if document.startswith("AWS-") else scope.account
    arn = (
        document
        if document.startswith("arn:")
        else f"arn:{account.PARTITION}:ssm:{scope.region}:{owner}:document/{document}"
    )
    yield Need(scope.action, arn)
    yield from (scope.instance(instance_id) for instance_id in scope.given.many("InstanceIds"))
    for key, values in scope.given.targets():
        if key == "InstanceIds":
            yield from (scope.instance(instance_id) for instance_id in values)
        elif key.startswith("tag:"):
            yield Need(scope.action, scope.arn("ec2", "instance/*"))


def _instance(scope: _Scope) -> Iterator[Need]:
    yield scope.instance(scope.given.one("InstanceId"))


def _parameters(scope: _Scope) -> Iterator[Need]:
    names = scope.given.many("Names") or [scope.given.one("Name") or scope.given.one("Path")]
    for name in names:
        arn = scope.arn("ssm", f"parameter/{name.lstrip('/')}")
        # AWS's own belong to no account.
        yield Need(scope.action, arn.replace(f":{scope.account}:", "::") if name.startswith("/aws/service/") else arn)


# S3


def _bucket_and_key(scope: _Scope) -> tuple[str, str]:
    bucket, _, key = scope.given.path.lstrip("/").partition("/")
    return bucket, key


def _bucket(action: str) -> Callable[[_Scope], Iterator[Need]]:
    def needed(scope: _Scope) -> Iterator[Need]:
        bucket, _key = _bucket_and_key(scope)
        prefix = scope.given.one("prefix")
        yield Need(action, f"arn:{account.PARTITION}:s3:::{bucket}", {"s3:prefix": prefix} if prefix else {})

    return needed


def _object(action: str) -> Callable[[_Scope], Iterator[Need]]:
    def needed(scope: _Scope) -> Iterator[Need]:
        bucket, key = _bucket_and_key(scope)
        versioned = action == "s3:GetObject" and scope.given.one("versionId")
        yield Need("s3:GetObjectVersion" if versioned else action, f"arn:{account.PARTITION}:s3:::{bucket}/{key}")

    return needed


def _delete_objects(scope: _Scope) -> Iterator[Need]:
    bucket, _key = _bucket_and_key(scope)
    yield Need("s3:DeleteObject", f"arn:{account.PARTITION}:s3:::{bucket}/*")


def _copy_object(scope: _Scope) -> Iterator[Need]:
    source = scope.request.headers.get("x-amz-copy-source", "").lstrip("/").partition("?")[0]
    yield Need("s3:GetObject", f"arn:{account.PARTITION}:s3:::{source}")
    yield from _object("s3:PutObject")(scope)


# The others


def _secret(scope: _Scope) -> Iterator[Need]:
    given = scope.given.one("SecretId")
    if given.startswith("arn:"):
        yield Need(scope.action, given)
        return
    secrets = account.backend("secretsmanager", scope.region).secrets
    found = next((secret for secret in secrets.values() if secret.name == given), None)
    yield Need(scope.action, found.arn if found else scope.arn("secretsmanager", f"secret:{given}-??????"))


def _topic(scope: _Scope) -> Iterator[Need]:
    yield Need(scope.action, scope.given.one("TopicArn") or scope.given.one("TargetArn"))


def _queue(scope: _Scope) -> Iterator[Need]:
    name = scope.given.one("QueueName") or scope.given.one("QueueUrl").rstrip("/").rpartition("/")[2]
    yield Need(scope.action, scope.arn("sqs", name))


def _log_group(scope: _Scope) -> Iterator[Need]:
    yield Need(scope.action, scope.arn("logs", f"log-group:{scope.given.one('logGroupName')}:*"))


def _log_stream(scope: _Scope) -> Iterator[Need]:
    group, stream = scope.given.one("logGroupName"), scope.given.one("logStreamName")
    yield Need(scope.action, scope.arn("logs", f"log-group:{group}:log-stream:{stream}"))


def _invoke(scope: _Scope) -> Iterator[Need]:
    name = scope.given.path.rstrip("/").rsplit("/", 2)[-2].split(":function:")[-1]
    yield Need("lambda:InvokeFunction", scope.arn("lambda", f"function:{name}"))


def _event_source(scope: _Scope) -> Iterator[Need]:
    """A queue that a function reads: known by its own id once it is there, and by its function."""
    id_ = scope.given.path.rstrip("/").rpartition("/")[2]
    mapping = account.backend("lambda", scope.region).get_event_source_mapping(id_)
    function = mapping.function_arn if mapping else scope.given.one("FunctionName")
    arn = scope.arn("lambda", f"event-source-mapping:{id_}") if mapping else "*"
    yield Need(scope.action, arn, {"lambda:FunctionArn": function})


def _metrics(scope: _Scope) -> Iterator[Need]:
    yield Need("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": scope.given.one("Namespace")})


def _nothing(scope: _Scope) -> Iterator[Need]:
    """Needs no permission, as AWS documents."""
    return iter(())


def _role(scope: _Scope) -> Iterator[Need]:
    yield Need(scope.action, scope.given.one("RoleArn"))


def _passing(service: str, *parameter: str) -> Callable[[_Scope], Iterator[Need]]:
    """What names a role hands it to a service."""

    def needed(scope: _Scope) -> Iterator[Need]:
        yield from scope.by_default()
        role = scope.given.deep(*parameter)
        if role:
            arn = role if role.startswith("arn:") else f"arn:{account.PARTITION}:iam::{scope.account}:role/{role}"
            yield Need("iam:PassRole", arn, {"iam:PassedToService": f"{service}.amazonaws.com"})

    return needed


_OPERATIONS: dict[tuple[str, str], Callable[[_Scope], Iterator[Need]]] = {
    **{
        ("ec2", name): _instances
        for name in (
            "StartInstances",
            "StopInstances",
            "RebootInstances",
            "TerminateInstances",
            "DescribeInstanceAttribute",
        )
    },
    ("ec2", "CreateTags"): _create_tags,
    ("ec2", "RunInstances"): _run_instances,
    ("ssm", "SendCommand"): _send_command,
    ("ssm", "UpdateInstanceInformation"): _instance,
    **{("ssm", name): _parameters for name in ("GetParameter", "GetParameters", "GetParametersByPath", "PutParameter")},
    ("s3", "ListObjects"): _bucket("s3:ListBucket"),
    ("s3", "ListObjectsV2"): _bucket("s3:ListBucket"),
    ("s3", "HeadBucket"): _bucket("s3:ListBucket"),
    ("s3", "ListObjectVersions"): _bucket("s3:ListBucketVersions"),
    ("s3", "GetBucketLocation"): _bucket("s3:GetBucketLocation"),
    ("s3", "ListMultipartUploads"): _bucket("s3:ListBucketMultipartUploads"),
    ("s3", "GetObject"): _object("s3:GetObject"),
    ("s3", "HeadObject"): _object("s3:GetObject"),
    ("s3", "PutObject"): _object("s3:PutObject"),
    ("s3", "CreateMultipartUpload"): _object("s3:PutObject"),
    ("s3", "UploadPart"): _object("s3:PutObject"),
    ("s3", "CompleteMultipartUpload"): _object("s3:PutObject"),
    ("s3", "AbortMultipartUpload"): _object("s3:AbortMultipartUpload"),
    ("s3", "ListParts"): _object("s3:ListMultipartUploadParts"),
    ("s3", "DeleteObject"): _object("s3:DeleteObject"),
    ("s3", "DeleteObjects"): _delete_objects,
    ("s3", "CopyObject"): _copy_object,
    ("secretsmanager", "GetSecretValue"): _secret,
    ("secretsmanager", "DescribeSecret"): _secret,
    ("secretsmanager", "PutSecretValue"): _secret,
    ("sns", "Publish"): _topic,
    **{
        ("sqs", name): _queue
        for name in ("GetQueueUrl", "SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
    },
    ("logs", "CreateLogGroup"): _log_group,
    ("logs", "DescribeLogStreams"): _log_group,
    ("logs", "CreateLogStream"): _log_stream,
    ("logs", "PutLogEvents"): _log_stream,
    ("lambda", "Invoke"): _invoke,
    **{("lambda", f"{verb}EventSourceMapping"): _event_source for verb in ("Create", "Update", "Delete")},
    ("cloudwatch", "PutMetricData"): _metrics,
    **{
        (service, name): _passing(service, "Role")
        for service, name in (("lambda", "CreateFunction"), ("lambda", "UpdateFunctionConfiguration"))
    },
    **{
        ("scheduler", name): _passing("scheduler", "Target", "RoleArn") for name in ("CreateSchedule", "UpdateSchedule")
    },
    ("iam", "AddRoleToInstanceProfile"): _passing("ec2", "RoleName"),
    ("sts", "GetCallerIdentity"): _nothing,
    ("sts", "AssumeRole"): _role,
}


def known() -> set[tuple[str, str]]:
    """Service and operation of everything whose needs are written down."""
    return set(_OPERATIONS)
