"""`Invoke` runs the deployed code: as its role, within its limits, with what Lambda's runtime has."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import LOGS, Cloud, until
from botocore.exceptions import ClientError


def test_a_function_answers_and_its_log_is_kept(cloud: Cloud) -> None:
    cloud.function(
        "echo",
        "import os\n"
        "def handler(event, context):\n"
        "    print('seen', event['word'])\n"
        "    left = context.get_remaining_time_in_millis()\n"
        "    return {'word': event['word'], 'name': context.function_name, 'own': os.environ['OWN'], 'left': left}\n",
        Environment={"Variables": {"OWN": "mine"}},
    )
    answer = cloud.invoke("echo", {"word": "hello"}, LogType="Tail")
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    payload = answer["Payload"]
    assert (payload["word"], payload["name"], payload["own"]) == ("hello", "echo", "mine")
    assert 0 < payload["left"] <= 30_000
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert "seen hello" in tail
    assert "REPORT RequestId: " in tail
    assert "seen hello" in cloud.log("echo")


def test_changed_code_is_what_runs_next(cloud: Cloud) -> None:
    import io
    import zipfile

    cloud.function("change", "def handler(event, context):\n    return 1\n")
    assert cloud.invoke("change")["Payload"] == 1
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", "def handler(event, context):\n    return 2\n")
    cloud.aws.client("lambda").update_function_code(FunctionName="change", ZipFile=packed.getvalue())
    assert cloud.invoke("change")["Payload"] == 2


def test_an_error_of_the_function_is_its_answer(cloud: Cloud) -> None:
    cloud.function("broken", "def handler(event, context):\n    raise ValueError('position not flat')\n")
    answer = cloud.invoke("broken")
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "ValueError"
    assert answer["Payload"]["errorMessage"] == "position not flat"
    assert any("position not flat" in line for line in cloud.log("broken"))


def test_time_and_memory_end(cloud: Cloud) -> None:
    cloud.function("slow", "import time\ndef handler(event, context):\n    time.sleep(600)\n", Timeout=1)
    late = cloud.invoke("slow")
    assert late["FunctionError"] == "Unhandled"
    assert "Task timed out after 1.00 seconds" in late["Payload"]["errorMessage"]
    cloud.function(
        "large",
        "import time\ndef handler(event, context):\n    kept = bytearray(600 * 2**20)\n    time.sleep(600)\n",
        MemorySize=128,
    )
    large = cloud.invoke("large")
    assert large["FunctionError"] == "Unhandled"
    assert "out of memory" in large["Payload"]["errorMessage"]


def test_a_function_that_exits_is_told_from_one_that_answers(cloud: Cloud) -> None:
    cloud.function("exits", "import os\ndef handler(event, context):\n    os._exit(3)\n")
    answer = cloud.invoke("exits")
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in answer["Payload"]["errorMessage"]


def test_only_what_lambda_has_can_be_imported(cloud: Cloud) -> None:
    cloud.function(
        "imports",
        "import importlib\n"
        "def handler(event, context):\n"
        "    found = {}\n"
        "    for name in event:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "            found[name] = True\n"
        "        except ImportError:\n"
        "            found[name] = False\n"
        "    return found\n",
    )
    found = cloud.invoke("imports", ["boto3", "json", "yaml", "ansible", "moto"])["Payload"]
    assert found == {"boto3": True, "json": True, "yaml": False, "ansible": False, "moto": False}


READS = """
import boto3
def handler(event, context):
    who = boto3.client('sts').get_caller_identity()['Arn']
    return {'who': who, 'body': boto3.client('s3').get_object(Bucket='models', Key=event)['Body'].read().decode()}
"""


def test_a_function_acts_as_its_role_and_may_do_what_its_policy_says(cloud: Cloud) -> None:
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="models")
    for key in ("own/a", "other/a"):
        s3.put_object(Bucket="models", Key=key, Body=key.encode())
    cloud.function(
        "reader", READS, {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::models/own/*"}
    )
    allowed = cloud.invoke("reader", "own/a")["Payload"]
    assert allowed["body"] == "own/a"
    assert ":assumed-role/reader-role/reader" in allowed["who"]
    refused = cloud.invoke("reader", "other/a")
    assert refused["FunctionError"] == "Unhandled"
    assert "AccessDenied" in refused["Payload"]["errorMessage"]
    assert "s3:GetObject" in refused["Payload"]["errorMessage"]
    cloud.allow("reader-role")  # without any statement
    assert cloud.invoke("reader", "own/a")["FunctionError"] == "Unhandled"


def test_a_log_that_the_role_may_not_write_is_lost(cloud: Cloud) -> None:
    cloud.function("silent", "def handler(event, context):\n    print('heard by nobody')\n    return 1\n")
    cloud.allow("silent-role")
    assert cloud.invoke("silent")["Payload"] == 1
    assert cloud.log("silent") == []


COUNTS = """
import boto3
def handler(event, context):
    sqs = boto3.client('sqs')
    sqs.send_message(QueueUrl=event['queue'], MessageBody=context.aws_request_id)
    raise RuntimeError('again')
"""


def _counting(cloud: Cloud, **config: Any) -> tuple[str, str, str]:
    tries, failed = cloud.queue("tries"), cloud.queue("failed")
    cloud.function("counts", COUNTS, {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"})
    destination = {"OnFailure": {"Destination": failed}}
    cloud.aws.client("lambda").put_function_event_invoke_config(
        FunctionName="counts", DestinationConfig=destination, **config
    )
    url = cloud.aws.client("sqs").get_queue_url(QueueName="tries")["QueueUrl"]
    return tries, failed, url


def test_an_asynchronous_call_is_tried_again_and_ends_in_its_destination(cloud: Cloud) -> None:
    tries, failed, url = _counting(cloud, MaximumRetryAttempts=2)
    cloud.control("clock", "PUT", rate=0)  # time passes only when it is told to
    answer = cloud.invoke("counts", {"queue": url}, InvocationType="Event")
    assert answer["StatusCode"] == 202
    seen = until(lambda: cloud.messages(tries))
    for _retry in range(2):
        until(lambda: "error" not in cloud.control("clock", "POST"))
        seen += until(lambda: cloud.messages(tries))
    record = json.loads(until(lambda: cloud.messages(failed))[0]["Body"])
    assert len({message["Body"] for message in seen}) == 1, "all tries are one invocation"
    assert len(seen) == 3
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == {"queue": url}
    assert record["responsePayload"]["errorMessage"] == "again"


def test_an_event_that_grew_too_old_is_given_up(cloud: Cloud) -> None:
    tries, failed, url = _counting(cloud, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    cloud.control("clock", "PUT", rate=0)
    cloud.invoke("counts", {"queue": url}, InvocationType="Event")
    until(lambda: cloud.messages(tries))
    now = until(lambda: (shown := cloud.control("clock"))["retries"] and shown)["now"]
    cloud.control("clock", "PUT", at=now.replace(now[:4], str(int(now[:4]) + 1)))
    record = json.loads(until(lambda: cloud.messages(failed))[0]["Body"])
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert cloud.messages(tries) == []


def test_a_missing_function_is_refused(cloud: Cloud) -> None:
    import pytest

    with pytest.raises(Exception, match="ResourceNotFound"):
        cloud.invoke("nobody")
    with pytest.raises(Exception, match="ResourceNotFound"):
        cloud.invoke("nobody", InvocationType="Event")


@pytest.mark.parametrize("kind", ["sqs", "sns"])
def test_what_is_given_up_ends_in_the_dead_letter_queue_beside_the_destination(cloud: Cloud, kind: str) -> None:
    dead, failed = cloud.queue("dead"), cloud.queue("failed")
    target = dead
    if kind == "sns":
        sns = cloud.aws.client("sns")
        target = sns.create_topic(Name="dead")["TopicArn"]
        sns.subscribe(TopicArn=target, Protocol="sqs", Endpoint=dead, Attributes={"RawMessageDelivery": "true"})
    may = {"Effect": "Allow", "Action": ["sqs:SendMessage", "sns:Publish"], "Resource": [failed, target]}
    code = "def handler(event, context):\n    raise ValueError('position not flat')\n"
    cloud.function("fails", code, may, DeadLetterConfig={"TargetArn": target})
    functions = cloud.aws.client("lambda")
    assert functions.get_function_configuration(FunctionName="fails")["DeadLetterConfig"] == {"TargetArn": target}
    functions.put_function_event_invoke_config(
        FunctionName="fails", MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": failed}}
    )
    functions.update_function_event_invoke_config(FunctionName="fails", MaximumEventAgeInSeconds=3600)
    kept = functions.get_function_event_invoke_config(FunctionName="fails")
    assert (kept["MaximumRetryAttempts"], kept["MaximumEventAgeInSeconds"]) == (0, 3600)
    cloud.invoke("fails", {"action": "stop"}, InvocationType="Event")
    (letter,) = until(lambda: cloud.messages(dead))
    assert json.loads(letter["Body"]) == {"action": "stop"}
    attributes = {
        name: (value["DataType"], value["StringValue"]) for name, value in letter["MessageAttributes"].items()
    }
    record = json.loads(until(lambda: cloud.messages(failed))[0]["Body"])
    assert attributes == {
        "RequestID": ("String", record["requestContext"]["requestId"]),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "position not flat"),
    }
    functions.update_function_configuration(FunctionName="fails", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in functions.get_function_configuration(FunctionName="fails")


def test_a_function_without_reserved_concurrency_is_throttled_and_its_events_are_given_up_at_once(cloud: Cloud) -> None:
    dead = cloud.queue("dead")
    may = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": dead}
    cloud.function("off", "def handler(event, context):\n    return 1\n", may, DeadLetterConfig={"TargetArn": dead})
    functions = cloud.aws.client("lambda")
    functions.put_function_concurrency(FunctionName="off", ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match=r"TooManyRequestsException.*Rate Exceeded"):
        cloud.invoke("off")
    assert cloud.invoke("off", {"action": "stop"}, InvocationType="Event")["StatusCode"] == 202
    assert json.loads(until(lambda: cloud.messages(dead))[0]["Body"]) == {"action": "stop"}
    functions.delete_function_concurrency(FunctionName="off")
    assert cloud.invoke("off")["Payload"] == 1


def test_as_many_run_at_once_as_are_reserved_and_events_wait_for_a_place(cloud: Cloud, tmp_path: Path) -> None:
    go, notes = tmp_path / "go", cloud.queue("notes")
    url = cloud.aws.client("sqs").get_queue_url(QueueName="notes")["QueueUrl"]
    code = (
        "import boto3, os, time\n"
        "def handler(event, context):\n"
        "    boto3.client('sqs').send_message(QueueUrl=event['queue'], MessageBody=event['name'])\n"
        "    while not os.path.exists(event['go']):\n"
        "        time.sleep(0.05)\n"
    )
    cloud.function("one", code, {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": notes}, Timeout=300)
    functions = cloud.aws.client("lambda")
    functions.put_function_concurrency(FunctionName="one", ReservedConcurrentExecutions=1)
    event = {"queue": url, "go": str(go)}
    cloud.invoke("one", {**event, "name": "first"}, InvocationType="Event")
    assert until(lambda: cloud.messages(notes))[0]["Body"] == "first"
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        cloud.invoke("one", event)
    cloud.invoke("one", {**event, "name": "second"}, InvocationType="Event")
    until(lambda: cloud.control("clock")["retries"])  # it was tried, and waits
    assert cloud.messages(notes) == []
    go.touch()
    assert until(lambda: cloud.messages(notes))[0]["Body"] == "second"


READER = """
import boto3, json
def handler(event, context):
    boto3.client('sqs').send_message(QueueUrl=boto3.client('sqs').get_queue_url(QueueName='got')['QueueUrl'],
        MessageBody=json.dumps([[record['eventSourceARN'], record['body']] for record in event['Records']]))
    if any(record['body'] == 'bad' for record in event['Records']):
        raise ValueError('bad')
"""


def test_a_function_is_handed_the_messages_of_a_window_and_what_failed_is_buried(cloud: Cloud) -> None:
    sqs, source, dead, got = cloud.aws.client("sqs"), cloud.queue("told"), cloud.queue("dead"), cloud.queue("got")
    url = sqs.get_queue_url(QueueName="told")["QueueUrl"]
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "1"})
    report = {"Effect": "Allow", "Action": ["sqs:SendMessage", "sqs:GetQueueUrl"], "Resource": got}
    cloud.function("reader", READER, report)
    cloud.aws.client("lambda").create_event_source_mapping(
        FunctionName="reader", EventSourceArn=source, BatchSize=100, MaximumBatchingWindowInSeconds=60
    )
    cloud.control("clock", "PUT", at="2026-06-02T15:00:00+00:00", rate=0)
    for number in range(12):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    until(lambda: cloud.control("clock")["retries"])
    assert cloud.control("clock")["retries"] == ["2026-06-02T15:01:00+00:00"]

    # Its role may not read the queue.
    cloud.control("clock", "POST")
    until(lambda: cloud.control("permissions")["refused"])
    assert {each["action"] for each in cloud.control("permissions")["refused"]} == {"sqs:ReceiveMessage"}
    assert cloud.messages(got) == []

    read = {"Effect": "Allow", "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage"], "Resource": source}
    cloud.allow("reader-role", LOGS, report, read)
    until(lambda: cloud.control("clock")["retries"])
    cloud.control("clock", "POST")
    (batch,) = until(lambda: cloud.messages(got))
    assert sorted(json.loads(batch["Body"])) == sorted([source, str(number)] for number in range(12))

    cloud.control("clock", "PUT", rate=1000)
    sqs.send_message(QueueUrl=url, MessageBody="bad")
    (buried,) = until(lambda: cloud.messages(dead))
    assert buried["Body"] == "bad"
    assert [json.loads(each["Body"]) for each in cloud.messages(got)] == [[[source, "bad"]]] * 2
    # They are gone for good.
    left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert left["ApproximateNumberOfMessages"] == left["ApproximateNumberOfMessagesNotVisible"] == "0"
