"""Where moto differs from AWS in a way that matters here, and what makes it agree. Each has a test of its own."""

from __future__ import annotations

import json
from typing import Any


def apply() -> None:
    """Patch moto in this process; once, before the server answers."""
    _heed_conditions()
    _find_tags_by_resource()
    _check_bucket_owners()
    _make_zones_of_a_vpc_private()
    _tag_snapshots_of_images()


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
