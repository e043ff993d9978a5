"""The built zip runs in a fresh process, unpacked as Lambda unpacks it, against the embedded AWS."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import dump_document, fleet_document
from ansible_collections.algo.trading.plugins.module_utils.lambda_package import Package, Source, build, write
from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import until

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws

ROOT = Path(__file__).parents[2]
MANIFEST = yaml.safe_load((ROOT / "lambda" / "manifest.yml").read_text())
BUCKET = "algo-model-deploy"
ACCOUNT = "123456789012"
# As the runtime does: import the handler from the unpacked zip, call it with event and context. Of the packages that
# the interpreter has besides, only boto3 and what it needs may be used: the runtime has no more.
BOOT = """
import importlib, json, os, sys, time
module, _, name = sys.argv[1].rpartition(".")
class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self):
        return int(os.environ.get("REMAINING", "60000"))
handler = getattr(importlib.import_module(module), name)
files = {name.split(".")[0]: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
foreign = {name for name, file in files.items() if "site-packages" in file}
foreign -= {"boto3", "botocore", "s3transfer", "urllib3", "jmespath", "dateutil", "six", "certifi", "awscrt"}
foreign = {name for name in foreign if not name.startswith(("_", "distutils"))}
assert not foreign, foreign
out = sys.stdout
result = handler(json.loads(sys.argv[2]), Context())
print(json.dumps({"result": result}))
"""


ROLE_TRUST = json.dumps(
    {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
)
# What the role itself may is proved elsewhere, for each identity.
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})

DRAIN = {
    "schemaVersion": "2.2",
    "mainSteps": [{"name": "drain", "action": "aws:runShellScript", "inputs": {"runCommand": ["echo drained"]}}],
}


@dataclass
class Answer:
    rc: int
    stderr: str
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        assert self.rc == 0, self.stderr
        found: dict[str, Any] = self.lines[-1]["result"]
        return found

    def metrics(self) -> dict[str, Any]:
        return next(line for line in self.lines if "_aws" in line)


class Functions:
    """The deployed functions of one environment."""

    def __init__(self, aws: Aws, task: Path) -> None:
        self._aws = aws
        self._task = task

    def invoke(self, name: str, event: Any = None, environment: str = "qa", **env: str) -> Answer:
        account = "123456789012"
        given = {
            "PROJECT": "algo-trading",
            "ENVIRONMENT": environment,
            "ALERT_TOPIC_ARN": f"arn:aws:sns:us-east-1:{account}:algo-trading-trading-server-shutdown-{environment}",
        }
        process = subprocess.run(
            [sys.executable, "-P", "-c", BOOT, f"trading_day.handlers.{name}", json.dumps(event or {})],
            env={**self._aws.env, "PYTHONPATH": str(self._task), **given, **env},
            cwd=self._task,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Answer(process.returncode, process.stderr, [json.loads(line) for line in process.stdout.splitlines()])


@pytest.fixture(scope="module")
def package() -> Package:
    return build(
        [
            Source(entry["archive_path"], ROOT / entry["path"], exclude=tuple(entry.get("exclude", ())))
            for entry in MANIFEST["lambda_sources"]
        ]
    )


@pytest.fixture
def functions(fresh_aws: Aws, package: Package, tmp_path: Path) -> Functions:
    task = tmp_path / "var" / "task"
    write(package, tmp_path / "trading_day.zip")
    with zipfile.ZipFile(tmp_path / "trading_day.zip") as archive:
        archive.extractall(task)
    for environment in ("qa", "prod"):
        fresh_aws.client("sns").create_topic(Name=f"algo-trading-trading-server-shutdown-{environment}")
        fresh_aws.client("ssm").put_parameter(
            Name=f"/algo-trading/{environment}/trading_server/fleet",
            Value=dump_document(fleet_document({"project": "algo-trading", "environment": environment})),
            Type="String",
        )
        for what in ("drain", "status"):
            fresh_aws.client("ssm").create_document(
                Name=f"algo-trading-trading-server-{environment}-{what}",
                DocumentType="Command",
                Content=json.dumps(DRAIN),
            )
    fresh_aws.forget_calls()
    return Functions(fresh_aws, task)


def launch(aws: Aws, component: str, environment: str, number: int = 1, **tags: str) -> list[str]:
    own = {
        "Project": "algo-trading",
        "Environment": environment,
        "Component": component,
        "ManagedBy": "algo.trading",
        "Name": f"algo-trading-{component.replace('_', '-')}-{environment}",
        **tags,
    }
    specification = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in own.items()]}
    made = aws.client("ec2").run_instances(
        ImageId="ami-12c6146b", MinCount=number, MaxCount=number, TagSpecifications=[specification]
    )
    return [instance["InstanceId"] for instance in made["Instances"]]


def states(aws: Aws) -> dict[str, str]:
    pages = aws.client("ec2").describe_instances()["Reservations"]
    return {i["InstanceId"]: i["State"]["Name"] for r in pages for i in r["Instances"]}


def test_the_package_holds_what_the_handlers_need_and_no_more(package: Package) -> None:
    assert {name.split("/")[0] for name in package.files} == {"trading_day", "ansible_collections"}
    assert all(name.endswith(".py") for name in package.files)
    assert "ansible_collections/algo/trading/plugins/module_utils/fleet/engine.py" in package.files
    assert len(package.data) < 500_000


def test_importing_the_handlers_stays_cheap(package: Package, tmp_path: Path) -> None:
    """Counted in modules, which no load on the machine changes. boto3 is a part of the runtime."""
    write(package, tmp_path / "trading_day.zip")
    imports = "import sys, boto3, botocore.config; before = set(sys.modules); import trading_day.handlers"
    code = f"{imports}; print(*set(sys.modules) - before)"
    env = {"PYTHONPATH": str(tmp_path / "trading_day.zip")}
    loaded = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert len(loaded.stdout.split()) <= 90


def test_shutdown_drains_and_stops_its_own_environment_only(fresh_aws: Aws, functions: Functions) -> None:
    ours = launch(fresh_aws, "trading_server", "qa", 60, Model="momentum/AAPL/sma-outer_0_inner_1")
    others = launch(fresh_aws, "trading_server", "prod", 2) + launch(fresh_aws, "alpaca_websocket", "qa")
    others += launch(fresh_aws, "trading_server", "qa", ManagedBy="somebody")
    fresh_aws.forget_calls()

    planned = functions.invoke("trading_server_shutdown", {"dry_run": True}).result
    assert {host["instance_id"] for host in planned["hosts"]} == set(ours)
    assert fresh_aws.calls(write=True) == []

    answer = functions.invoke("trading_server_shutdown", {"action": "stop", "environment": "qa"})
    assert answer.result["ok"]
    assert {host["instance_id"]: host["outcome"] for host in answer.result["hosts"]} == dict.fromkeys(ours, "stopped")
    assert answer.result["hosts"][0]["model"] == "momentum/AAPL/sma-outer_0_inner_1"
    found = states(fresh_aws)
    assert {found[id_] for id_ in ours} <= {"stopping", "stopped"}
    assert {found[id_] for id_ in others} == {"running"}
    assert fresh_aws.count(write=True) == {"ec2:CreateTags": 2, "ssm:SendCommand": 2, "ec2:StopInstances": 2}
    assert answer.metrics()["HostsStopped"] == 60

    again = functions.invoke("trading_server_shutdown").result
    assert again["reason"] == "no trading server runs"


def test_shutdown_names_a_server_that_it_must_not_touch(fresh_aws: Aws, functions: Functions) -> None:
    model = "momentum/AAPL/sma-outer_0_inner_1"
    [ours] = launch(fresh_aws, "trading_server", "qa", Model=model)
    [theirs] = launch(fresh_aws, "trading_server", "qa", Model=model, ManagedBy="terraform")
    answer = functions.invoke("trading_server_shutdown").result
    assert not answer["ok"]
    assert [entry["instance_id"] for entry in answer["not_touched"]] == [theirs]
    found = states(fresh_aws)
    assert found[ours] in ("stopping", "stopped")
    assert found[theirs] == "running"
    assert fresh_aws.count()["sns:Publish"] == 1


def test_a_shutdown_out_of_time_hands_over_to_the_deployed_function(
    fresh_aws: Aws, functions: Functions, package: Package
) -> None:
    ours = launch(fresh_aws, "trading_server", "qa", 3, Model="momentum/AAPL/sma-outer_0_inner_1")
    name = "algo-trading-trading-server-shutdown-qa"
    role = fresh_aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ROLE_TRUST)["Role"]
    fresh_aws.client("iam").put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=EVERYTHING)
    fresh_aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}")
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:{name}"
    fresh_aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="trading_day.handlers.trading_server_shutdown",
        Role=role["Arn"],
        Code={"ZipFile": package.data},
        Timeout=300,
        MemorySize=512,
        Environment={"Variables": {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": topic}},
    )
    fresh_aws.forget_calls()
    first = functions.invoke("trading_server_shutdown", REMAINING="0").result
    assert (first["handed_over"], first["reason"]) == (True, "3 unfinished")
    assert fresh_aws.count()["lambda:Invoke"] == 1
    until(lambda: {states(fresh_aws)[id_] for id_ in ours} <= {"stopping", "stopped"})

    def log() -> list[str]:
        events = fresh_aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        return [event["message"] for event in events if "Shutdown ended" in event["message"]]

    (line,) = until(log)
    assert json.loads(line)["run"] == "request-1"
    assert json.loads(line)["request_id"] != "request-1"
    assert json.loads(line)["summary"] == "3 stopped"


def test_a_shutdown_that_can_not_reach_aws_ends_as_an_error(functions: Functions) -> None:
    answer = functions.invoke("trading_server_shutdown", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert answer.rc != 0
    assert "Could not list the instances of the environment" in answer.stderr


def test_events_of_others_and_settings_that_are_missing_are_refused(fresh_aws: Aws, functions: Functions) -> None:
    wrong = functions.invoke("trading_server_shutdown", {"environment": "prod"})
    assert "is for the environment 'prod'" in wrong.stderr
    missing = functions.invoke("trading_server", PROJECT="")
    assert "PROJECT is required" in missing.stderr
    # The refusal is told to people, nothing else is done.
    assert fresh_aws.count(write=True) == {"sns:Publish": 1}


def test_ingestion_starts_and_stops_its_own_host_only(fresh_aws: Aws, functions: Functions) -> None:
    (own,), (other,) = launch(fresh_aws, "alpaca_websocket", "qa"), launch(fresh_aws, "alpaca_websocket", "prod")
    assert functions.invoke("alpaca_websocket", {"action": "stop"}).result["ok"]
    assert (states(fresh_aws)[own], states(fresh_aws)[other]) == ("stopped", "running")
    assert functions.invoke("alpaca_websocket", {"action": "start"}).result["hosts"][0]["action"] == "start"
    assert (states(fresh_aws)[own], states(fresh_aws)[other]) == ("running", "running")


@pytest.mark.parametrize(
    ("scheduled", "completed"),
    [
        ("2026-11-11T16:10:00-05:00", True),
        ("2026-11-11T13:10:00-05:00", False),  # the other schedule's turn
        ("2026-09-07T13:10:00-04:00", True),  # a holiday: nothing is left to do
    ],
)
def test_an_event_that_was_carried_out_is_counted_and_one_that_was_not_is_missed(
    fresh_aws: Aws, functions: Functions, scheduled: str, completed: bool
) -> None:
    launch(fresh_aws, "alpaca_websocket", "qa")
    old = {"MAX_EVENT_AGE": str(10 * 365 * 24 * 3600)}
    event = {"action": "stop", "scheduled_time": scheduled}
    for name in ("trading_server_shutdown", "alpaca_websocket"):
        answer = functions.invoke(name, event, **old)
        assert answer.rc == 0, answer.stderr
        assert [line["Function"] for line in answer.lines if line.get("StopCompleted")] == [name] * completed
    # Neither is one that a person sends, nor one that came too late.
    assert not [
        line for line in functions.invoke("alpaca_websocket", {"action": "stop"}).lines if "StopCompleted" in line
    ]
    assert not [line for line in functions.invoke("alpaca_websocket", event).lines if "StopCompleted" in line]
    holiday = {"action": "check", "scheduled_time": "2026-09-07T09:20:00-04:00"}
    assert [line for line in functions.invoke("trading_server", holiday, **old).lines if line.get("CheckCompleted")]


class Fleet:
    """A bucket with models and the fleet's settings, as the playbooks leave them."""

    def __init__(self, aws: Aws) -> None:
        ec2 = aws.client("ec2")
        aws.client("s3").create_bucket(Bucket=BUCKET)
        self._aws = aws
        self.publish("AAPL", "MSFT")
        subnet = ec2.describe_subnets()["Subnets"][0]
        group = ec2.describe_security_groups()["SecurityGroups"][0]
        self.settings: dict[str, Any] = {
            "project": "algo-trading",
            "environment": "qa",
            "image_id": "ami-12c6146b",
            "instance_types": ["t3.micro"],
            "subnet_ids": [subnet["SubnetId"]],
            "security_group_ids": [group["GroupId"]],
            "halt_parameter": "/algo-trading/qa/halt",
            "source": {"bucket": BUCKET, "owner": ACCOUNT},
        }
        self.store(self.settings)
        self.parameter("halt", "false")

    def publish(self, *symbols: str) -> None:
        for symbol in symbols:
            for name in ("model.joblib", "manifest.json"):
                key = f"models/momentum/{symbol}/sma-outer_0_inner_1/{name}"
                self._aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"{}")

    def store(self, settings: dict[str, Any]) -> None:
        self.parameter("trading_server/fleet", dump_document(fleet_document(settings)))

    def parameter(self, name: str, value: str) -> None:
        ssm = self._aws.client("ssm")
        ssm.put_parameter(Name=f"/algo-trading/qa/{name}", Value=value, Type="String", Overwrite=True)


def test_the_fleet_follows_the_models_and_obeys_the_halt(fresh_aws: Aws, functions: Functions) -> None:
    fleet = Fleet(fresh_aws)
    fresh_aws.forget_calls()
    planned = functions.invoke("trading_server", {"dry_run": True}).result
    assert [line["action"] for line in planned["plan"]] == ["create", "create"]
    assert all(line["reason"] for line in planned["plan"])

    fleet.parameter("halt", "2030-01-02 by the desk")
    fresh_aws.forget_calls()
    halted = functions.invoke("trading_server").result
    assert halted["reason"] == "trading is halted: /algo-trading/qa/halt is '2030-01-02 by the desk'"
    assert [line["action"] for line in halted["plan"]] == ["hold", "hold"]
    # People are told that nothing trades; nothing else is done.
    assert fresh_aws.count(write=True) == {"sns:Publish": 1}
    assert states(fresh_aws) == {}

    fleet.parameter("halt", "false")
    made = functions.invoke("trading_server")
    assert made.result["changed"]
    assert made.metrics()["ServersWanted"] == 2
    assert sorted(states(fresh_aws).values()) == ["running", "running"]

    fresh_aws.forget_calls()
    again = functions.invoke("trading_server").result
    assert (again["changed"], again["reason"]) == (False, "every server is up to date")
    assert fresh_aws.calls(write=True) == []

    # The evening stops them, the morning starts them, with the model that came over night.
    assert functions.invoke("trading_server_shutdown").result["reason"] == "2 stopped"
    fleet.publish("NVDA")
    morning = functions.invoke("trading_server").result
    assert sorted(line["action"] for line in morning["plan"]) == ["create", "start", "start"]
    assert sorted(states(fresh_aws).values()) == ["running"] * 3


def test_before_the_open_people_learn_which_servers_do_not_trade(fresh_aws: Aws, functions: Functions) -> None:
    fleet = Fleet(fresh_aws)
    check = {"action": "check"}
    none = functions.invoke("trading_server", check).result
    assert none["reason"] == "2 of 2 servers do not trade"
    assert fresh_aws.count(write=True)["sns:Publish"] == 1
    functions.invoke("trading_server")
    fresh_aws.forget_calls()
    every = functions.invoke("trading_server", check)
    assert (every.result["ok"], every.result["reason"]) == (True, "2 servers trade")
    assert every.metrics()["ServersReady"] == 2
    # It asks the hosts and changes nothing.
    assert fresh_aws.count(write=True) == {"ssm:SendCommand": 1}

    stopped, running = sorted(states(fresh_aws))
    fresh_aws.client("ec2").stop_instances(InstanceIds=[stopped])
    fleet.publish("NVDA")
    found = functions.invoke("trading_server", check).result
    assert {server["instance_id"]: server["outcome"] for server in found["servers"]} == {
        stopped: "not_ready",
        running: "ready",
        "": "not_ready",
    }
    assert any(server["reason"].startswith("no server runs: ") for server in found["servers"])


def test_a_server_that_is_held_and_stays_stopped_raises_an_alert(fresh_aws: Aws, functions: Functions) -> None:
    fleet = Fleet(fresh_aws)
    fleet.store({**fleet.settings, "on_change": {"version": "replace"}})
    assert functions.invoke("trading_server").result["ok"]
    functions.invoke("trading_server_shutdown")
    ids = sorted(states(fresh_aws))
    fresh_aws.client("ec2").create_tags(Resources=ids[:1], Tags=[{"Key": "Protected", "Value": "true"}])
    for symbol in ("AAPL", "MSFT"):
        for name in ("model.joblib", "manifest.json"):
            key = f"models/momentum/{symbol}/sma-outer_0_inner_1/{name}"
            fresh_aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"next")
    fresh_aws.forget_calls()
    answer = functions.invoke("trading_server").result
    assert not answer["ok"]
    assert states(fresh_aws)[ids[0]] == "stopped"
    assert fresh_aws.count(write=True)["sns:Publish"] == 1


def test_a_missing_halt_flag_halts(fresh_aws: Aws, functions: Functions) -> None:
    Fleet(fresh_aws)
    fresh_aws.client("ssm").delete_parameter(Name="/algo-trading/qa/halt")
    halted = functions.invoke("trading_server")
    assert halted.result["reason"] == "trading is halted: /algo-trading/qa/halt does not exist"
    assert halted.metrics()["Halted"] == 1
    assert states(fresh_aws) == {}


def test_the_models_that_the_settings_exclude_get_no_server(fresh_aws: Aws, functions: Functions) -> None:
    fleet = Fleet(fresh_aws)
    fleet.store({**fleet.settings, "source": {**fleet.settings["source"], "symbols": ["MSFT"]}})
    made = functions.invoke("trading_server").result
    assert [line["model"] for line in made["plan"]] == ["momentum/MSFT/sma-outer_0_inner_1"]
    # Keys of another layout are refused where the settings say so, before anything is changed.
    fresh_aws.client("s3").put_object(Bucket=BUCKET, Key="models/odd", Body=b"{}")
    fleet.store({**fleet.settings, "source": {**fleet.settings["source"], "on_invalid": "error"}})
    refused = functions.invoke("trading_server")
    assert "holds 1 key(s) that are not models: 'models/odd'" in refused.stderr
    assert len(states(fresh_aws)) == 1


def test_another_layout_is_listed_as_the_settings_say(fresh_aws: Aws, functions: Functions) -> None:
    fleet = Fleet(fresh_aws)
    fresh_aws.client("s3").put_object(Bucket=BUCKET, Key="v2/TSLA/momentum.sma.0.1.zip", Body=b"{}")
    layout = r"v2/(?P<symbol>\w+)/(?P<type>\w+)\.(?P<model>\w+)\.(?P<outer>\d+)\.(?P<inner>\d+)"
    fleet.store({**fleet.settings, "source": {"bucket": BUCKET, "pattern": layout}})
    made = functions.invoke("trading_server").result
    assert [line["model"] for line in made["plan"]] == ["momentum/TSLA/sma-outer_0_inner_1"]


def test_an_empty_listing_ends_no_fleet(fresh_aws: Aws, functions: Functions) -> None:
    Fleet(fresh_aws)
    functions.invoke("trading_server")
    s3 = fresh_aws.client("s3")
    for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    fresh_aws.forget_calls()
    refused = functions.invoke("trading_server")
    assert refused.rc != 0
    assert set(states(fresh_aws).values()) == {"running"}
    assert fresh_aws.count(write=True) == {"sns:Publish": 1}


def stored(**changes: Any) -> str:
    whole = {"project": "algo-trading", "environment": "qa", "halt_parameter": "/h", "source": {"bucket": BUCKET}}
    return dump_document(fleet_document({**whole, **changes}))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "does not exist"),
        ("no json", "is not valid"),
        # As a version before the schema wrote it.
        ('{"project": "algo-trading", "environment": "qa", "image_id": "ami-1"}', "an older version wrote it"),
        (stored(environment="prod"), "is for algo-trading prod"),
        (stored(halt_parameter=""), "has no halt parameter"),
        (stored(source={}), "has no bucket"),
    ],
)
def test_settings_that_are_missing_broken_or_anothers_start_nothing(
    fresh_aws: Aws, functions: Functions, value: str | None, says: str
) -> None:
    fleet = Fleet(fresh_aws)
    if value is None:
        fresh_aws.client("ssm").delete_parameter(Name="/algo-trading/qa/trading_server/fleet")
    else:
        fleet.parameter("trading_server/fleet", value)
    answer = functions.invoke("trading_server")
    assert answer.rc != 0
    assert says in answer.stderr
    assert states(fresh_aws) == {}


def test_importing_the_handlers_takes_no_part_of_ansible(functions: Functions) -> None:
    # BOOT itself asserts it; a dry run on an empty account is the cheapest way to run it.
    assert functions.invoke("trading_server_shutdown", {"dry_run": True}).result["hosts"] == []
