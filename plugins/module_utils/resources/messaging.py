# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQS queues and SNS topics, as community.aws manages them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .._aws import pages, unless_missing
from .._naming import Scope
from .._policies import normalize_policy
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings


def _normalize(arguments: Settings) -> Settings:
    return {name: normalize_policy(value) if name == "policy" else value for name, value in arguments.items()}


# ---- queue ----

_NUMBERS = {
    "visibility_timeout": "VisibilityTimeout",
    "message_retention_period": "MessageRetentionPeriod",
    "maximum_message_size": "MaximumMessageSize",
    "delay_seconds": "DelaySeconds",
    "receive_message_wait_time_seconds": "ReceiveMessageWaitTimeSeconds",
    "kms_data_key_reuse_period_seconds": "KmsDataKeyReusePeriodSeconds",
}
_MESSAGES = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
)
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def queue_urls(reading: Any, scope: Scope) -> dict[str, str]:
    """URLs of this environment's queues by their names, as AWS lists them."""

    def ask() -> dict[str, str]:
        listed = pages(reading("sqs"), "list_queues", "QueueUrls", QueueNamePrefix=f"{scope.project}-")
        urls = {url.rpartition("/")[2]: url for url in listed}
        return {name: url for name, url in urls.items() if scope.owns_name(name)}

    found: dict[str, str] = reading.once("queues", ask)
    return found


def _read_queues(reading: Any, scope: Scope) -> Iterable[Found]:
    sqs = reading("sqs")
    for name, url in queue_urls(reading, scope).items():
        # Just deleted ones are listed for a while.
        answer = unless_missing(sqs.get_queue_attributes, *_NO_QUEUE, QueueUrl=url, AttributeNames=["All"])
        listed = unless_missing(sqs.list_queue_tags, *_NO_QUEUE, QueueUrl=url)
        if answer is None or listed is None:
            continue
        attributes, tags = answer["Attributes"], dict(listed.get("Tags") or {})
        settings = {
            "name": name,
            "queue_type": "fifo" if attributes.get("FifoQueue") == "true" else "standard",
            **{option: int(attributes[field]) for option, field in _NUMBERS.items() if field in attributes},
            "policy": normalize_policy(attributes.get("Policy") or {}),
            "redrive_policy": json.loads(attributes.get("RedrivePolicy") or "{}"),
            "kms_master_key_id": attributes.get("KmsMasterKeyId"),
            "tags": tags,
        }
        # Making a queue and tagging it are two calls; one that was never tagged nor used is an interrupted run's.
        used = any(int(attributes.get(field, 0)) for field in _MESSAGES)
        yield Found(name, settings, {"arn": attributes["QueueArn"], "url": url}, tags, unfinished=not tags and not used)


QUEUE = ResourceType(
    module="community.aws.sqs_queue",
    service="sqs",
    title="SQS queue",
    read=_read_queues,
    compared=frozenset({"name", "queue_type", "policy", "redrive_policy", "kms_master_key_id", "tags", *_NUMBERS}),
    # The module cannot give an existing queue a key.
    force_new=frozenset({"queue_type", "kms_master_key_id"}),
    normalize=_normalize,
    computed=("arn", "url"),
    attributes=lambda result, arguments: {"arn": result.get("queue_arn"), "url": result.get("queue_url")},
    # For a minute after its removal, a queue's name cannot be used again.
    retryable_errors=("QueueDeletedRecently", "You must wait 60 seconds"),
    destroy_order=30,
)


# ---- topic ----


def _read_topics(clients: Any, scope: Scope) -> Iterable[Found]:
    sns = clients("sns")
    for topic in pages(sns, "list_topics", "Topics"):
        arn = topic["TopicArn"]
        name = arn.rpartition(":")[2]
        if not scope.owns_name(name):
            continue
        answer = unless_missing(sns.get_topic_attributes, "NotFound", "NotFoundException", TopicArn=arn)
        if answer is None:
            continue
        attributes = answer["Attributes"]
        tags = tag_dict(sns.list_tags_for_resource(ResourceArn=arn).get("Tags"))
        subscriptions = [
            {"protocol": subscription["Protocol"], "endpoint": subscription["Endpoint"]}
            for subscription in pages(sns, "list_subscriptions_by_topic", "Subscriptions", TopicArn=arn)
            if subscription.get("SubscriptionArn") != "Deleted"
        ]
        settings = {
            "name": name,
            "topic_type": "fifo" if attributes.get("FifoTopic") == "true" else "standard",
            "display_name": attributes.get("DisplayName", ""),
            "policy": normalize_policy(attributes.get("Policy") or {}),
            "subscriptions": subscriptions,
            "tags": tags,
        }
        yield Found(name, settings, {"arn": arn}, tags)


TOPIC = ResourceType(
    module="community.aws.sns_topic",
    absent={"ListTopics": {"Topics": []}},
    service="sns",
    title="SNS topic",
    read=_read_topics,
    compared=frozenset({"name", "topic_type", "display_name", "policy", "subscriptions", "tags"}),
    force_new=frozenset({"topic_type"}),
    steering=frozenset({"purge_subscriptions"}),
    normalize=_normalize,
    unordered=frozenset({"subscriptions"}),
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": result.get("sns_arn")},
    destroy_order=32,
)

TYPES = (QUEUE, TOPIC)
