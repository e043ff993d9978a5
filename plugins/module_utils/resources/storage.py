# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""S3 buckets and their life-cycle rules, as amazon.aws and community.aws manage them.

Bucket names are global and cannot be searched by tag: an environment's buckets are read by their exact names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._aws import caller, read_each, snake, unless_missing
from .._errors import error_code
from .._naming import NEW_MODELS, Scope, arn
from .._policies import normalize_policy
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings
from .messaging import queue_urls

_MISSING = frozenset({"404", "NoSuchBucket", "NotFound"})
_REFUSED = frozenset({"403", "AccessDenied", "Forbidden"})
ANOTHER_ACCOUNT = "it belongs to another account"
_BLOCKS = ("block_public_acls", "ignore_public_acls", "block_public_policy", "restrict_public_buckets")


# ---- bucket ----


def _tags(reading: Any, bucket: str) -> dict[str, str] | None:
    """A bucket's tags; None where there is no such bucket. Raises what S3 refuses, as for a bucket of another account.

    Tags alone prove nothing: anybody may give a bucket of theirs a free name and our tags. So it must be the account's.
    """
    account = caller(reading)["Account"]

    def ask() -> dict[str, str] | None:
        get = reading("s3").get_bucket_tagging
        try:
            return tag_dict(get(Bucket=bucket, ExpectedBucketOwner=account).get("TagSet"))
        except Exception as error:
            if error_code(error) in _MISSING:
                return None
            if error_code(error) == "NoSuchTagSet":
                return {}
            raise

    found: dict[str, str] | None = reading.once(f"tags of bucket {bucket}", ask)
    return found


def _ours(scope: Scope, bucket: str, tags: Mapping[str, str]) -> bool:
    return scope.owns(tags) or bucket in scope.adopt


def _read_bucket(reading: Any, scope: Scope, bucket: str) -> list[Found]:
    s3 = reading("s3")
    try:
        tags = _tags(reading, bucket)
    except Exception as error:
        if error_code(error) in _REFUSED:
            return [Found(bucket, tags={}, note=_refused(s3, bucket))]
        raise
    if tags is None:
        return []
    attributes = {"arn": arn("s3", bucket, region=scope.region)}
    unfinished = not tags and _is_unfinished(s3, bucket)
    if not unfinished and not _ours(scope, bucket, tags):
        return [Found(bucket, {"tags": tags}, attributes, tags)]
    settings = {"name": bucket, "tags": tags, **_bucket_settings(s3, bucket)}
    return [Found(bucket, settings, attributes, tags, unfinished=unfinished)]


def _refused(s3: Any, bucket: str) -> str:
    """Why S3 refuses to show a bucket. It does not say; whether the bucket is ours stands in the account's list."""
    try:
        ours = {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
    except Exception as error:
        if error_code(error) in _REFUSED:
            return f"{ANOTHER_ACCOUNT}, or these credentials may not read it (s3:GetBucketTagging)"
        raise
    return "these credentials may not read it (s3:GetBucketTagging)" if bucket in ours else ANOTHER_ACCOUNT


def _is_unfinished(s3: Any, bucket: str) -> bool:
    """Whether a bucket without tags, in our account, is one that a run of ours made and was then cut off: an empty one.

    S3 takes no tags with CreateBucket, so there is a moment in which a bucket cannot say whose it is.
    """
    try:
        answer = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    except Exception as error:
        if error_code(error) in _REFUSED:
            return False
        raise
    return not answer.get("Versions") and not answer.get("DeleteMarkers")


def _bucket_settings(s3: Any, bucket: str) -> Settings:
    # S3 has no call that tells all of it.
    answers = read_each(
        lambda question: [unless_missing(question[0], *question[1:], Bucket=bucket)],
        [
            (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
            (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
            (s3.get_bucket_policy, "NoSuchBucketPolicy"),
            (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
            (s3.get_bucket_versioning,),
        ],
    )
    rules, block, policy, ownership, versioning = answers
    rules = rules or {"ServerSideEncryptionConfiguration": {"Rules": [{}]}}
    rule = rules["ServerSideEncryptionConfiguration"]["Rules"][0]
    encryption = rule.get("ApplyServerSideEncryptionByDefault", {})
    blocked = {snake(name): value for name, value in (block or {}).get("PublicAccessBlockConfiguration", {}).items()}
    return {
        "versioning": versioning.get("Status") == "Enabled",
        "encryption": encryption.get("SSEAlgorithm", "none"),
        "encryption_key_id": encryption.get("KMSMasterKeyID"),
        "bucket_key_enabled": rule.get("BucketKeyEnabled", False),
        "public_access": {name: blocked.get(name, False) for name in _BLOCKS},
        "policy": normalize_policy(policy["Policy"]) if policy else {},
        "object_ownership": ownership["OwnershipControls"]["Rules"][0]["ObjectOwnership"] if ownership else None,
    }


def _normalize_bucket(arguments: Settings) -> Settings:
    compared = dict(arguments)
    if "policy" in compared:
        compared["policy"] = normalize_policy(compared["policy"])
    if "public_access" in compared:
        compared["public_access"] = {name: bool(compared["public_access"].get(name)) for name in _BLOCKS}
    return compared


def _bucket_attributes(result: Settings, arguments: Settings) -> Settings:
    # The name is all that others need; the ARN follows from it and is in the next reading.
    return {"name": arguments["name"]}


BUCKET = ResourceType(
    module="amazon.aws.s3_bucket",
    absent={"HeadBucket": "404"},
    service="s3",
    title="S3 bucket",
    read=lambda reading, scope: read_each(lambda bucket: _read_bucket(reading, scope, bucket), scope.buckets),
    compared=frozenset(
        {
            "name",
            "versioning",
            "encryption",
            "encryption_key_id",
            "bucket_key_enabled",
            "public_access",
            "policy",
            "object_ownership",
            "tags",
        }
    ),
    normalize=_normalize_bucket,
    computed=(),
    attributes=_bucket_attributes,
    # A versioned bucket is never empty. Whether its contents may go is asked long before this.
    delete_arguments=lambda found: {"force": True},
    retryable_errors=("OperationAborted", "BucketNotEmpty"),
)


# ---- life-cycle rule ----

# What a rule can say. A rule is compared as a whole: what the settings leave out must not be there either.
_RULE = (
    "abort_incomplete_multipart_upload_days",
    "expiration_days",
    "expire_object_delete_marker",
    "noncurrent_version_expiration_days",
    "noncurrent_version_keep_newer",
    "transitions",
    "noncurrent_version_transitions",
)


def rule_key(bucket: str, rule_id: str) -> str:
    return f"{bucket}/{rule_id}"


def _read_rules(reading: Any, scope: Scope, bucket: str) -> list[Found]:
    try:
        # No run looks at the rules of another's bucket.
        if not _ours(scope, bucket, _tags(reading, bucket) or {}):
            return []
        answer = unless_missing(
            reading("s3").get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration", *_MISSING, Bucket=bucket
        )
    except Exception as error:
        if error_code(error) in _REFUSED:
            return []  # the bucket's own reading says so
        raise
    return [_rule(bucket, rule) for rule in (answer or {}).get("Rules", ())]


def _rule(bucket: str, rule: Mapping[str, Any]) -> Found:
    expiration = rule.get("Expiration", {})
    noncurrent = rule.get("NoncurrentVersionExpiration", {})
    settings = {
        "name": bucket,
        "rule_id": rule.get("ID", ""),
        "status": rule["Status"].lower(),
        "prefix": rule.get("Filter", {}).get("Prefix", rule.get("Prefix", "")),
        "abort_incomplete_multipart_upload_days": rule.get("AbortIncompleteMultipartUpload", {}).get(
            "DaysAfterInitiation"
        ),
        "expiration_days": expiration.get("Days"),
        "expire_object_delete_marker": expiration.get("ExpiredObjectDeleteMarker"),
        "noncurrent_version_expiration_days": noncurrent.get("NoncurrentDays"),
        "noncurrent_version_keep_newer": noncurrent.get("NewerNoncurrentVersions"),
        "transitions": _transitions(rule.get("Transitions"), "Days"),
        "noncurrent_version_transitions": _transitions(rule.get("NoncurrentVersionTransitions"), "NoncurrentDays"),
    }
    return Found(rule_key(bucket, settings["rule_id"]), settings, {"bucket": bucket}, owner=bucket)


def _transitions(transitions: Iterable[Mapping[str, Any]] | None, days: str) -> list[Settings]:
    return [
        {"transition_days": entry.get(days), "storage_class": entry.get("StorageClass", "").lower()}
        for entry in transitions or ()
    ]


def _normalize_rule(arguments: Settings) -> Settings:
    lists = ("transitions", "noncurrent_version_transitions")
    described = {name: arguments.get(name) or ([] if name in lists else None) for name in _RULE}
    return {"prefix": "", "status": "enabled", **arguments, **described}


_TRANSITION = {"transition_days": "int", "storage_class": "str"}
LIFECYCLE_RULE = ResourceType(
    module="community.aws.s3_lifecycle",
    service="s3",
    title="life-cycle rule",
    read=lambda reading, scope: read_each(lambda bucket: _read_rules(reading, scope, bucket), scope.buckets),
    compared=frozenset({"name", "rule_id", "status", "prefix", *_RULE}),
    tagged=False,
    name_argument=None,
    normalize=_normalize_rule,
    unordered=frozenset({"transitions", "noncurrent_version_transitions"}),
    shapes={"transitions": _TRANSITION, "noncurrent_version_transitions": _TRANSITION},
    computed=(),
    delete_arguments=lambda found: {name: found["settings"][name] for name in ("name", "rule_id")},
    retryable_errors=("OperationAborted",),
    # The module reads a bucket's rules and writes them all.
    part_of=lambda name: name.partition("/")[0],
    destroy_order=49,
)

# ---- notification ----


def _read_notifications(reading: Any, scope: Scope) -> Iterator[Found]:
    queue = scope.name("trading_server", NEW_MODELS)
    if queue not in queue_urls(reading, scope):  # then no bucket tells it anything, and no call is made
        return iter(())
    return read_each(lambda bucket: _notifications(reading, bucket, queue), scope.buckets)


def _notifications(clients: Any, bucket: str, queue: str) -> list[Found]:
    """Those of one name only: a bucket's others are not ours."""
    get = clients("s3").get_bucket_notification_configuration
    answer = unless_missing(get, *_MISSING, *_REFUSED, Bucket=bucket)  # the bucket's own reading says why
    entries = (entry for entry in (answer or {}).get("QueueConfigurations", ()) if entry.get("Id") == queue)
    return [Found(queue, _notification(bucket, entry), owner=queue) for entry in entries]


def _notification(bucket: str, entry: Mapping[str, Any]) -> Settings:
    rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    parts = {rule["Name"].lower(): rule["Value"] for rule in rules}
    return {
        "event_name": entry["Id"],
        "bucket_name": bucket,
        "queue_arn": entry["QueueArn"],
        "events": list(entry["Events"]),
        "prefix": parts.get("prefix", ""),
        "suffix": parts.get("suffix", ""),
    }


NOTIFICATION = ResourceType(
    module="community.aws.s3_bucket_notification",
    service="s3",
    title="bucket notification",
    read=_read_notifications,
    compared=frozenset({"event_name", "bucket_name", "queue_arn", "events", "prefix", "suffix"}),
    tagged=False,
    name_argument="event_name",
    unordered=frozenset({"events"}),
    computed=(),
    delete_arguments=lambda found: {"bucket_name": found["settings"]["bucket_name"]},
    # S3 sends a test message first. A queue's policy that was made a moment ago is not yet known everywhere.
    retryable_errors=("Unable to validate the following destination", "OperationAborted"),
    destroy_order=11,
)

TYPES = (BUCKET, LIFECYCLE_RULE, NOTIFICATION)
