# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""aws_trading_server_on_new_model: a model that is published in the session gets its server, and no other changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import Cloud, until
from ansible_collections.algo.trading.tests.integration.environments import MODELS, Environment

if TYPE_CHECKING:
    from conftest import Aws, Playbook

SCOPE = Scope("algo-trading", "qa")
SERVER = "algo-trading-trading-server-qa"
QUEUE = f"{SERVER}-new-models"
NEW, HALF = "momentum/MSFT/sma-outer_0_inner_0", "momentum/NVDA/sma-outer_0_inner_0"
HALTED = "momentum/TSLA/sma-outer_0_inner_0"
OURS = {
    ("SQS queue", QUEUE),
    ("SQS queue", f"{QUEUE}-failed"),
    ("alarm", f"{QUEUE}-failed"),
    ("event source of a function", QUEUE),
    ("bucket notification", QUEUE),
}
READS = {"lambda:ListEventSourceMappings", "s3:GetBucketNotification"}
COMPONENTS = {"algo_components": ["aws_network", "aws_identity", "aws_trading_server", "aws_trading_server_shutdown"]}


def test_a_model_published_in_the_session_gets_its_server_and_no_other_changes(
    fresh_aws: Aws, playbook: Playbook
) -> None:
    qa, cloud = Environment(fresh_aws, playbook, "qa"), Cloud(fresh_aws)
    s3, on = fresh_aws.client("s3"), {**COMPONENTS, "aws_trading_server_on_new_model": True}
    qa.publish(*MODELS)
    tags = [{"Key": key, "Value": value} for key, value in SCOPE.tags("trading_server").items()]
    s3.put_bucket_tagging(Bucket=qa.bucket, Tagging={"TagSet": tags})
    qa.as_operator("plan", "change")
    first = qa(**on)
    assert {line[1:] for line in first.lines if "new-models" in line[2]} == OURS
    # The function has S3's own message meanwhile, so calls of roles are among those of the plan.
    again = qa("--check", **on)
    assert again.lines == []
    assert again.asked.keys() >= READS

    before = {each["InstanceId"]: each["Tags"] for each in qa.instances("trading_server")}
    empty(cloud)
    clock = {"at": "2026-06-02T11:00:00-04:00", "rate": 8}  # an ordinary Tuesday
    cloud.control("clock", "PUT", **clock)
    s3.put_object(Bucket=qa.bucket, Key=f"models/{NEW}/weights.bin", Body=b"1")
    s3.put_object(Bucket=qa.bucket, Key=f"models/{NEW}/manifest.json", Body=manifest("weights.bin"))
    s3.put_object(Bucket=qa.bucket, Key=f"models/{HALF}/weights.bin", Body=b"1")
    s3.put_object(Bucket=qa.bucket, Key=f"models/{MODELS[0]}/model.json", Body=b"better")
    fresh_aws.client("sqs").send_message(QueueUrl=url(fresh_aws), MessageBody="no JSON")
    wait(cloud, lambda: NEW in qa.models())
    assert qa.models() == sorted([*MODELS, NEW])
    after = {each["InstanceId"]: each["Tags"] for each in qa.instances("trading_server")}
    assert {id_: tags for id_, tags in after.items() if id_ in before} == before
    wait(cloud, lambda: "Fleet reconciled" in said(cloud))
    assert {"Message ignored", "Model not added"} <= said(cloud)
    wait(cloud, lambda: waiting(fresh_aws) == 0)

    # After the close the next start has it.
    cloud.control("clock", "PUT", at="2026-06-02T16:30:00-04:00")
    s3.put_object(Bucket=qa.bucket, Key=f"models/{HALF}/manifest.json", Body=manifest("weights.bin"))
    wait(cloud, lambda: waiting(fresh_aws) == 0)
    assert HALF not in qa.models()

    # What is halted gets no server, whether all of trading is or this symbol only. People are told what to do then.
    cloud.control("clock", "PUT", at="2026-06-03T11:00:00-04:00")
    order = {"do": "halt", "record": "by a test, 2026-06-02T15:00:00Z: looking", "symbols": ["TSLA"]}
    for number, halt in enumerate(("halted by a test", json.dumps({"orders": [order]})), start=1):
        fresh_aws.client("ssm").put_parameter(Name=SCOPE.parameter("halt"), Value=halt, Overwrite=True)
        s3.put_object(Bucket=qa.bucket, Key=f"models/{HALTED}/weights.bin", Body=b"1")
        s3.put_object(Bucket=qa.bucket, Key=f"models/{HALTED}/manifest.json", Body=manifest("weights.bin"))
        wait(cloud, partial(halted, cloud, number))
        held = [line for line in lines(cloud, "Server") if line["model"] == HALTED]
        assert [line["action"] for line in held] == ["hold"] * number
        assert "by a test" in held[-1]["reason"]
    assert HALTED not in qa.models()
    assert set(after) == {each["InstanceId"] for each in qa.instances("trading_server")}
    fresh_aws.client("ssm").put_parameter(Name=SCOPE.parameter("halt"), Value="false", Overwrite=True)
    started = fresh_aws.client("lambda").invoke(FunctionName=SERVER, Payload=b'{"action": "start"}')
    assert json.load(started["Payload"])["ok"]
    assert qa.models() == sorted([*MODELS, NEW, HALF, HALTED])
    wait(cloud, lambda: waiting(fresh_aws) == 0)
    assert refused(fresh_aws) == []
    assert not [each for each in fresh_aws.permissions()["unneeded"] if each["statement"] == "NewModels"]

    qa.as_operator("plan", "change", "remove")
    off = qa(**COMPONENTS)
    assert {line[1:] for line in off.lines if line[0] == "delete"} == OURS
    assert not s3.get_bucket_notification_configuration(Bucket=qa.bucket).get("QueueConfigurations")
    assert fresh_aws.client("lambda").list_event_source_mappings()["EventSourceMappings"] == []
    never = qa.plan(**COMPONENTS)
    assert never.lines == []
    assert not READS & never.asked.keys()
    assert refused(fresh_aws) == []


def refused(aws: Aws) -> list[Any]:
    """A function may not make its own log group, which Lambda tries."""
    return [each for each in aws.permissions()["refused"] if each["action"] != "logs:CreateLogGroup"]


def wait(cloud: Cloud, condition: Callable[[], Any]) -> None:
    try:
        until(condition)
    except AssertionError as error:
        last = "\n".join(cloud.log(SERVER)[-30:])
        raise AssertionError(f"{error}; refused: {refused(cloud.aws)}; the function said:\n{last}") from None


def manifest(*paths: str) -> bytes:
    files = [{"path": path, "size": 1, "sha256": hashlib.sha256(b"1").hexdigest()} for path in paths]
    return json.dumps({"files": files}).encode()


def url(aws: Aws) -> str:
    return str(aws.client("sqs").get_queue_url(QueueName=QUEUE)["QueueUrl"])


def waiting(aws: Aws) -> int:
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url(aws), AttributeNames=["All"])["Attributes"]
    return sum(int(attributes[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible"))


def empty(cloud: Cloud) -> None:
    """Let the function have what is in the queue: on a holiday, so that it does nothing."""
    cloud.control("clock", "PUT", at="2026-12-25T11:00:00-05:00", rate=8)
    wait(cloud, lambda: waiting(cloud.aws) == 0)


def halted(cloud: Cloud, times: int) -> bool:
    return len(lines(cloud, "Trading is halted")) == times


def lines(cloud: Cloud, message: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in cloud.log(SERVER) if line.startswith("{")]
    return [line for line in found if message in ("", line.get("message"))]


def said(cloud: Cloud) -> set[str]:
    return {str(line.get("message")) for line in lines(cloud)}
