"""Where moto differs from AWS in a way that matters here, and what makes it agree.

Each patch has a test that shows moto's own behaviour without it, and so fails when moto no longer needs it
(test_moto_patches.py). What connects moto's instances with hosts is in `hosts.moto_instances`.
"""

from __future__ import annotations

import json
import re
from typing import Any


def apply() -> None:
    """Patch moto in this process; once, before the server answers."""
    for patch in PATCHES:
        patch()


def _heed_conditions() -> None:
    """moto takes a bucket policy's statement with a condition for one that always holds.

    "Deny all that comes without TLS" would then lock everybody out of a bucket's objects. Statements with conditions
    are kept and shown as they are, and are not enforced.
    """
    from moto.iam.access_control import IAMPolicy
    from moto.s3.models import FakeBucket

    def get_permission(self: FakeBucket, action: str, resource: str) -> Any:
        policy = json.loads(self.policy or b'{"Statement": []}')
        statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
        plain = [statement for statement in statements if "Condition" not in statement]
        return IAMPolicy(json.dumps({**policy, "Statement": plain})).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission  # type: ignore[method-assign]


def _find_tags_by_resource() -> None:
    """moto looks through all tags of the account for those of one resource, for each resource that it answers with.

    A thousand instances with a dozen tags each, and their disks, would take it half a minute to list.
    """
    from moto.ec2.models.core import TaggedEC2Resource
    from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

    def get_tags(self: Any) -> list[dict[str, str]]:
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if self.id else ""
        tags = self.ec2_backend.tags.get(self.id, {}) if self.id else {}
        return [{"resource_id": self.id, "key": key, "value": tags[key], "resource_type": kind} for key in tags]

    TaggedEC2Resource.get_tags = get_tags  # type: ignore[method-assign]


def _check_bucket_owners() -> None:
    """moto answers for a bucket of any account, whichever account the request expects as its owner."""
    from moto.s3.exceptions import S3AccessDeniedError
    from moto.s3.models import s3_backends
    from moto.s3.responses import S3Response

    def checking(respond: Any) -> Any:
        def checked(self: S3Response, request: Any, full_url: str) -> Any:
            expected = request.headers.get("x-amz-expected-bucket-owner")
            name = self.parse_bucket_name_from_url(request, full_url)
            if expected and name in s3_backends.bucket_accounts and expected != s3_backends.bucket_accounts[name][1]:
                raise S3AccessDeniedError
            return respond(self, request, full_url)

        return checked

    S3Response._bucket_response = checking(S3Response._bucket_response)  # type: ignore[method-assign]
    S3Response._key_response = checking(S3Response._key_response)  # type: ignore[method-assign]


def _make_zones_of_a_vpc_private() -> None:
    """moto drops the VPC of a hosted zone whose request does not say PrivateZone, which only answers have in AWS.

    amazon.aws says it all the same; Terraform does not, and would find its zone without a VPC in each plan.
    """
    from moto.route53.responses import Route53

    create_hosted_zone = Route53.create_hosted_zone

    def create(self: Route53) -> Any:
        if self._get_param("VPC.VPCId"):
            self.params["HostedZoneConfig"] = {**(self._get_param("HostedZoneConfig") or {}), "PrivateZone": True}
        return create_hosted_zone(self)

    Route53.create_hosted_zone = create  # type: ignore[method-assign]


def _tag_snapshots_of_images() -> None:
    """moto refuses to tag an image's snapshot together with the image."""
    from moto.ec2.models.amis import AmiBackend

    create = AmiBackend.create_image

    def create_image(
        self: Any, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Any:
        others = [each for each in tag_specifications if each["ResourceType"] != "snapshot"]
        image = create(self, instance_id, name, description, tag_specifications=others)
        for each in tag_specifications:
            if each["ResourceType"] == "snapshot":
                image.ebs_snapshot.add_tags({tag["Key"]: tag.get("Value", "") for tag in each["Tags"]})
        return image

    AmiBackend.create_image = create_image  # type: ignore[method-assign]


def _keep_dead_letter_queues() -> None:
    """moto forgets a function's dead-letter queue."""
    from moto.awslambda.models import LambdaFunction

    made, update, shown = LambdaFunction.__init__, LambdaFunction.update_configuration, LambdaFunction.get_configuration

    def init(self: Any, account_id: str, spec: dict[str, Any], *given: Any, **more: Any) -> None:
        made(self, account_id, spec, *given, **more)
        self.dead_letter_config = spec.get("DeadLetterConfig") or {}

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> Any:
        if "DeadLetterConfig" in config_updates:
            self.dead_letter_config = config_updates["DeadLetterConfig"] or {}
        return update(self, config_updates)

    def get_configuration(self: Any, on_create: bool = False) -> Any:
        target = self.dead_letter_config.get("TargetArn")
        return {**shown(self, on_create), **({"DeadLetterConfig": self.dead_letter_config} if target else {})}

    LambdaFunction.__init__ = init  # type: ignore[method-assign]
    LambdaFunction.update_configuration = update_configuration  # type: ignore[method-assign]
    LambdaFunction.get_configuration = get_configuration  # type: ignore[method-assign]


def _replace_event_invoke_configs() -> None:
    """moto adds a second configuration for asynchronous invocations and goes on showing the first.

    AWS replaces it with Put, and changes what is given with Update.
    """
    from moto.awslambda.models import LambdaBackend

    put = LambdaBackend.put_function_event_invoke_config

    def replace(self: Any, function_name: str, config: dict[str, Any]) -> Any:
        function = self.get_function(function_name)
        before, function.event_invoke_config = function.event_invoke_config, []
        try:
            return put(self, function_name, config)
        finally:
            function.event_invoke_config = function.event_invoke_config or before  # it was refused

    def update(self: Any, function_name: str, config: dict[str, Any]) -> Any:
        now = self.get_function(function_name).event_invoke_config
        return replace(self, function_name, {**(now[0].config if now else {}), **config})

    LambdaBackend.put_function_event_invoke_config = replace  # type: ignore[method-assign]
    LambdaBackend.update_function_event_invoke_config = update  # type: ignore[method-assign]


def _take_filters_of_notifications() -> None:
    """moto wants the filters of a bucket's notification in lower case, and none empty; community.aws sends neither."""
    from moto.s3.responses import S3Response

    parse = S3Response._notification_config_from_body

    def parse_leniently(self: Any) -> Any:
        text = self.body.decode() if isinstance(self.body, bytes) else self.body
        text = re.sub(r"<FilterRule><Name>\w+</Name>(<Value></Value>|<Value ?/>)</FilterRule>", "", text)
        text = re.sub(r"<Name>(Prefix|Suffix)</Name>", lambda name: f"<Name>{name[1].lower()}</Name>", text)
        self.body = re.sub(r"<Filter><S3Key></S3Key></Filter>", "", text).encode()
        return parse(self)

    S3Response._notification_config_from_body = parse_leniently  # type: ignore[method-assign]


def _leave_queues_to_event_sources() -> None:
    """moto hands each message of a queue to its own function at once, in a container, whatever the mapping's window is.

    Here `event_sources` reads the queue.
    """
    from moto.awslambda.models import LambdaBackend
    from moto.sqs.models import sqs_backends

    create = LambdaBackend.create_event_source_mapping

    def create_event_source_mapping(self: Any, spec: dict[str, Any]) -> Any:
        made = create(self, spec)
        for queue in sqs_backends[self.account_id][self.region_name].queues.values():
            queue.lambda_event_source_mappings.pop(made.function_arn, None)
        return made

    LambdaBackend.create_event_source_mapping = create_event_source_mapping  # type: ignore[method-assign]


def _give_the_profile_to_all_instances() -> None:
    """moto gives the instance profile of a launch to the first of its instances only."""
    from moto.ec2.models.instances import InstanceBackend

    launch = InstanceBackend.run_instances

    def run_instances(self: Any, *given: Any, **options: Any) -> Any:
        reservation = launch(self, *given, **options)
        names = ("iam_instance_profile_name", "iam_instance_profile_arn")
        profile = {name: options[name] for name in names if options.get(name)}
        for instance in reservation.instances[1:] if profile else ():  # moto serves the first one after this
            self.associate_iam_instance_profile(instance_id=instance.id, **profile)
        return reservation

    InstanceBackend.run_instances = run_instances  # type: ignore[method-assign]


def _keep_metadata_options() -> None:
    """moto forgets the options that a change does not name, so that a new hop limit would drop tokens."""
    from moto.ec2.models.instances import InstanceBackend

    original = InstanceBackend.modify_instance_metadata_options

    def modify(self: Any, instance_id: str, **given: Any) -> Any:
        now = self.get_instance(instance_id).metadata_options
        kept = {
            "http_tokens": now.http_tokens,
            "hop_limit": now.http_put_response_hop_limit,
            "http_endpoint": now.http_endpoint,
            "http_protocol": now.http_protocol_ipv6,
            "metadata_tags": now.instance_metadata_tags,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        return original(self, instance_id, **{**kept, **changed})

    InstanceBackend.modify_instance_metadata_options = modify  # type: ignore[assignment, method-assign]


def _tag_dashboards() -> None:
    """moto drops the tags of a dashboard, and can't tag one.

    As in AWS, the tags of a request count when it makes the dashboard.
    """
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.cloudwatch.responses import CloudWatchResponse

    put = CloudWatchResponse.put_dashboard
    delete, tag = CloudWatchBackend.delete_dashboards, CloudWatchBackend.tag_resource

    def put_dashboard(self: Any) -> Any:
        own, name = self.cloudwatch_backend, self._get_param("DashboardName")
        existed, answer = name in own.dashboards, put(self)
        if not existed:
            own.tagger.tag_resource(own.dashboards[name].arn, self._get_param("Tags", []))
        return answer

    def delete_dashboards(self: Any, dashboards: list[str]) -> Any:
        arns = [self.dashboards[name].arn for name in dashboards if name in self.dashboards]
        problem = delete(self, dashboards)
        for arn in arns if problem is None else ():
            self.tagger.delete_all_tags_for_resource(arn)
        return problem

    def tag_resource(self: Any, arn: str, tags: dict[str, str]) -> None:
        if arn in {each.arn for each in self.dashboards.values()}:
            self.tagger.tag_resource(arn, self.tagger.convert_dict_to_tags_input(tags))
        else:
            tag(self, arn, tags)

    CloudWatchResponse.put_dashboard = put_dashboard  # type: ignore[method-assign]
    CloudWatchBackend.delete_dashboards = delete_dashboards  # type: ignore[method-assign]
    CloudWatchBackend.tag_resource = tag_resource  # type: ignore[method-assign]


PATCHES = (
    _heed_conditions,
    _find_tags_by_resource,
    _check_bucket_owners,
    _make_zones_of_a_vpc_private,
    _tag_snapshots_of_images,
    _keep_dead_letter_queues,
    _replace_event_invoke_configs,
    _take_filters_of_notifications,
    _leave_queues_to_event_sources,
    _give_the_profile_to_all_instances,
    _keep_metadata_options,
    _tag_dashboards,
)
