"""The deployed shutdown against hosts that fail in their drain: nothing is lost, and everybody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.lambda_package import Source, build
from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, Yard, until
from ansible_collections.algo.trading.tests.integration.policies import identities

ROOT = Path(__file__).parents[3]
SCOPE = Scope("algo-trading", "qa")
NAME, DRAIN = SCOPE.name("trading_server_shutdown"), SCOPE.name("trading_server", "drain")
TOPIC = f"arn:aws:sns:us-east-1:123456789012:{NAME}"
# What each host does when it is asked to drain stands in a file of its own.
DOCUMENT = {
    "schemaVersion": "2.2",
    "mainSteps": [
        {
            "name": "drain",
            "action": "aws:runShellScript",
            "inputs": {"runCommand": ["exec sh /root/drain"], "timeoutSeconds": "600"},
        }
    ],
}
BEGUN = "echo begun > /root/draining; "
HANGS = f"{BEGUN}echo $$ > /root/drain.pid; exec sleep 600"
# The agent goes, and what it runs with it; systemd starts it again.
DIES = f"{BEGUN}systemctl kill --signal=KILL amazon-ssm-agent; sleep 600"
FAILS = f"{BEGUN}echo 'cannot flatten AAPL'; exit 1"


class Evening:
    """The function as it is deployed, with the policy that the role aws_identity gives it."""

    def __init__(self, yard: Yard, where: Path) -> None:
        self.yard = yard
        aws = yard.aws
        manifest = yaml.safe_load((ROOT / "lambda" / "manifest.yml").read_text())["lambda_sources"]
        package = build([Source(entry["archive_path"], ROOT / entry["path"]) for entry in manifest])
        rendered = identities.render(aws.env, where)["qa"]
        (identity,) = [each for each in rendered if each.name == f"{NAME}-lambda"]
        iam, functions = aws.client("iam"), aws.client("lambda")
        role = iam.create_role(RoleName=identity.name, AssumeRolePolicyDocument=json.dumps(identity.trust))
        iam.put_role_policy(RoleName=identity.name, PolicyName="own", PolicyDocument=json.dumps(identity.policy))
        aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{NAME}")
        functions.create_function(
            FunctionName=NAME,
            Runtime="python3.13",
            Handler="trading_day.handlers.trading_server_shutdown",
            Role=role["Role"]["Arn"],
            Code={"ZipFile": package.data},
            Timeout=300,
            MemorySize=512,
        )
        aws.client("ssm").create_document(Name=DRAIN, DocumentType="Command", Content=json.dumps(DOCUMENT))
        sns, sqs = aws.client("sns"), aws.client("sqs")
        sns.create_topic(Name=NAME)
        self._inbox = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:inbox")

    def has(self, host: Host, drain: str) -> None:
        """Make a host one of the environment's servers, with what it does when it is asked to drain."""
        host.run(f"rm -f /root/draining; cat > /root/drain <<'END'\n{drain}\nEND")
        self.yard.aws.client("ec2").create_tags(Resources=[host.id], Tags=tags(f"a/B/{host.id}-outer_0_inner_0"))

    def begin(self, policy: str) -> None:
        """Shut down without waiting. The limits are short; what they are does not matter for the outcome."""
        variables = {
            "PROJECT": "algo-trading",
            "ENVIRONMENT": "qa",
            "ALERT_TOPIC_ARN": TOPIC,
            "DRAIN_TIMEOUT": "10",
            "DRAIN_ATTEMPTS": "1",
            "ON_DRAIN_FAILURE": policy,
        }
        functions = self.yard.aws.client("lambda")
        functions.update_function_configuration(FunctionName=NAME, Environment={"Variables": variables})
        functions.invoke(FunctionName=NAME, InvocationType="Event", Payload=b'{"action": "stop"}')

    def alert(self) -> str:
        sqs = self.yard.aws.client("sqs")
        got = until(lambda: sqs.receive_message(QueueUrl=self._inbox).get("Messages"), self.yard.log)
        sqs.delete_message(QueueUrl=self._inbox, ReceiptHandle=got[0]["ReceiptHandle"])
        return str(json.loads(got[0]["Body"])["Message"])


def tags(model: str) -> list[dict[str, str]]:
    given = {**SCOPE.tags("trading_server"), "Name": SCOPE.name("trading_server"), "Model": model}
    return [{"Key": key, "Value": value} for key, value in given.items()]


@pytest.fixture(scope="module")
def evening(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    return Evening(yard, tmp_path_factory.mktemp("evening"))


def _agent_runs(host: Host) -> bool:
    return host.run("systemctl is-active amazon-ssm-agent || true").strip() == "active"


@pytest.fixture
def servers(evening: Evening, pair: list[Host]) -> Iterator[list[Host]]:
    """The shared hosts, which are nobody's servers afterwards."""
    yield pair
    ids = [host.id for host in pair]
    evening.yard.aws.client("ec2").delete_tags(Resources=ids, Tags=[{"Key": tag["Key"]} for tag in tags("")])
    for host in pair:
        host.run("kill $(cat /root/drain.pid) || true; rm -f /root/drain*")
        until(partial(_agent_runs, host))


def line_about(alert: str, host: Host) -> str:
    return next(line for line in alert.splitlines() if f"({host.id})" in line)


def refused(yard: Yard) -> list[Any]:
    """What the function may not do; it may not make its own log group, which Lambda tries."""
    found = [each for each in yard.control("permissions")["refused"] if NAME in each["role"]]
    return [each for each in found if each["action"] != "logs:CreateLogGroup"]


def test_hosts_that_hang_or_lose_their_agent_in_the_drain_are_kept_and_named(
    evening: Evening, servers: list[Host]
) -> None:
    hung, dead = servers
    evening.has(hung, HANGS)
    evening.has(dead, DIES)
    evening.begin("keep")
    alert = evening.alert()
    assert "Shutdown needs attention" in alert
    models = ",".join(sorted(f"a/B/{host.id}-outer_0_inner_0" for host in servers))
    assert f"playbooks/drain.yml -e 'algo_models={models}'" in alert
    for host in servers:
        assert "left_running" in line_about(alert, host), alert
        assert host.run("cat /root/draining") == "begun\n", "it was asked"
        assert host.state == "running"
    assert "no result within 10 s" in line_about(alert, hung)
    assert refused(evening.yard) == []


@pytest.mark.usefixtures("pair")  # its hosts have the same role
def test_a_host_that_is_replaced_in_its_drain_is_gone_and_its_successor_is_drained_too(evening: Evening) -> None:
    yard, ec2 = evening.yard, evening.yard.aws.client("ec2")
    old, new = (host.booted() for host in yard.launch(2, IamInstanceProfile={"Name": "pair"}))
    evening.has(old, HANGS)
    evening.begin("stop")
    until(lambda: "begun" in old.run("cat /root/draining || true"), yard.log)
    evening.has(new, FAILS)
    ec2.terminate_instances(InstanceIds=[old.id])
    alert = evening.alert()
    assert "stopped_undrained" in line_about(alert, new), alert
    assert old.id not in alert, "nobody has to do anything about it"
    until(lambda: new.state == "stopped", yard.log)
    assert old.state == "terminated"
    assert refused(yard) == []
    ec2.terminate_instances(InstanceIds=[new.id])
