"""Runs the project's own playbooks on its own inventories, and says what each run did and what it asked AWS for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import operator_policy
import yaml
from ansible_collections.algo.trading.plugins.module_utils._aws import Clients, Reading
from ansible_collections.algo.trading.plugins.module_utils._naming import LIVE_STATES, Scope, resource_name
from ansible_collections.algo.trading.plugins.module_utils.resources import read_environment

if TYPE_CHECKING:
    from conftest import Aws, Call, Playbook, Run

ROOT = Path(__file__).parents[3]
ACCOUNT = "123456789012"
# Few, because an environment's size makes no difference to what is shown here; the fleet's own tests have hundreds.
MODELS = (
    "momentum/AAPL/sma-outer_0_inner_0",
    "momentum/GOOG/sma-outer_0_inner_1",
    "mean_reversion/AAPL/zscore-outer_1_inner_0",
)
# A run that changes nothing still takes the environment's lock and gives it back.
LOCK = Counter({"ssm:PutParameter": 1, "ssm:DeleteParameter": 1})

Line = tuple[str, str, str]


@dataclass(frozen=True)
class Outcome:
    """One run of a playbook, and the API calls that the server saw meanwhile."""

    run: Run
    calls: list[Call]

    @property
    def output(self) -> str:
        return self.run.output

    @property
    def lines(self) -> list[Line]:
        """What was changed or would be: action, type, name."""
        return [
            (line["action"], line["type"], line["name"]) for line in self.run.plan["plan"] if line["action"] != "no-op"
        ]

    @property
    def reasons(self) -> dict[Line, list[str]]:
        return {(line["action"], line["type"], line["name"]): line["reasons"] for line in self.run.plan["plan"]}

    @property
    def counts(self) -> dict[str, int]:
        """The counts that the plan ends in, those that are not zero."""
        return {name: number for name, number in self.run.plan["counts"].items() if number and name != "no-op"}

    @property
    def writes(self) -> Counter[str]:
        return Counter(f"{call.service}:{call.operation}" for call in self.calls if call.write)

    @property
    def asked(self) -> Counter[str]:
        """Every call, by how often."""
        return Counter(f"{call.service}:{call.operation}" for call in self.calls)


class Environment:
    """One of the inventories, and the account that it is provisioned in."""

    def __init__(self, aws: Aws, playbook: Playbook, name: str, inventories: Path = ROOT / "inventories") -> None:
        self.aws, self.name, self._playbook = aws, name, playbook
        self.inventory = inventories / name
        settings = yaml.safe_load((self.inventory / "group_vars" / "all" / "settings.yml").read_text())
        self.bucket = str(settings.get("algo_model_bucket", ""))
        self._credentials: dict[str, str] = {}
        # Its gate has tests of its own.
        self._always = {"algo_unverified": "a test"} if settings.get("algo_promoted_from") else {}

    def __call__(
        self, *args: str, fails: bool = False, playbook: str = "site.yml", stdin: str | None = None, **settings: Any
    ) -> Outcome:
        """Run `site.yml` with these flags and settings; it must end well unless it `fails`."""
        self.aws.forget_calls()
        run = self._playbook(
            "-i",
            self.inventory,
            playbook,
            *args,
            extra=self._always | settings,
            endpoint=self.name != "local",
            stdin=stdin,
            **({"env": self._credentials} if self._credentials else {}),
        )
        assert (run.rc != 0) == fails, f"{playbook} in {self.name} ended with {run.rc}\n{run.output[-12000:]}"
        return Outcome(run, self.aws.calls())

    def plan(self, *args: str, **settings: Any) -> Outcome:
        """What a run would do. It must write nothing."""
        planned = self("--check", "--diff", *args, **settings)
        assert planned.writes == Counter()
        return planned

    def destroy(self, *args: str, confirm: str | None = None, fails: bool = False, **settings: Any) -> Outcome:
        if confirm is not None:
            settings["algo_confirm"] = confirm
        return self(*args, playbook="playbooks/destroy.yml", fails=fails, **settings)

    def kill(self, after: int, playbook: str = "site.yml", **settings: Any) -> Counter[str]:
        """Start a run and kill it, without a warning, as soon as it has made `after` writing calls."""
        running = self._start(playbook, settings)
        while running.poll() is None and len(self.aws.calls(write=True)) < after:
            time.sleep(0.05)
        assert running.poll() is None, f"{playbook} ended before its {after}th writing call"
        _kill(running)
        return self.aws.count(write=True)

    def cut_off(self, *operations: str, playbook: str = "site.yml", **settings: Any) -> set[str]:
        """Start a run, never answer these calls, and kill it when it waits for nothing else any more.

        Returns the operations at which it was cut off; none if it ended.
        """
        self.aws.hold(*operations)
        try:
            running = self._start(playbook, settings)
            calls = -1
            while running.poll() is None and not (self.aws.held() and len(self.aws.calls()) == calls):
                calls = len(self.aws.calls())
                time.sleep(3)
            if running.poll() is None:
                cut = set(self.aws.held())
                _kill(running)
                return cut
            assert running.returncode == 0, f"{playbook} in {self.name} ended with {running.returncode}"
            return set()
        finally:
            self.aws.release()

    def _start(self, playbook: str, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        self.aws.forget_calls()
        variables = json.dumps({"algo_endpoint_url": self.aws.endpoint, **self._always, **settings})
        program = Path(sys.executable).parent / "ansible-playbook"
        return subprocess.Popen(
            [program, "-i", self.inventory, playbook, "-e", variables],
            cwd=ROOT,
            env=self.aws.env | self._credentials,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def as_operator(self, *parts: str, without: str = "") -> str:
        """Run from now on with the permissions of docs/permissions.md and nothing else; returns the role's ARN.

        :param parts: of the page: plan, change, remove
        :param without: the `Sid` of a statement that is left out
        """
        iam, name = self.aws.client("iam"), "operator"
        values = {"project": "algo-trading", "environment": self.name, "account": ACCOUNT, "region": self.aws.region}
        documents = operator_policy.policies(operator_policy.PAGE.read_text(), **values, model_bucket=self.bucket)
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": []}))
        for part in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=part)
        for part in parts:
            document = documents[part]
            document["Statement"] = [each for each in document["Statement"] if each["Sid"] != without]
            iam.put_role_policy(RoleName=name, PolicyName=part, PolicyDocument=json.dumps(document))
        arn = str(iam.get_role(RoleName=name)["Role"]["Arn"])
        sts = self.aws.client("sts")
        given = sts.assume_role(RoleArn=arn, RoleSessionName="test", DurationSeconds=43_200)["Credentials"]
        self._credentials = {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }
        return arn

    # ---- what is there ----

    def reading(self) -> dict[str, Any]:
        """Everything of the environment, as the playbooks read it, and its instances."""
        own = [
            resource_name("algo-trading", component, self.name, ACCOUNT)
            for component in ("alpaca_websocket", "mlflow_server")
        ]
        scope = Scope("algo-trading", self.name, self.aws.region, (self.bucket, *own))
        state: dict[str, Any] = read_environment(Reading(Clients(self.aws.client)), scope)
        fleet = {instance["InstanceId"]: instance for instance in self.instances()}
        return json.loads(json.dumps({**state, "instances": fleet}, sort_keys=True, default=str))  # type: ignore[no-any-return]

    def instances(self, component: str = "", states: Iterable[str] = LIVE_STATES) -> list[Any]:
        filters = [
            {"Name": "tag:Environment", "Values": [self.name]},
            {"Name": "instance-state-name", "Values": list(states)},
        ]
        if component:
            filters.append({"Name": "tag:Component", "Values": [component]})
        found = self.aws.client("ec2").describe_instances(Filters=filters)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def models(self) -> list[str]:
        """The models that have a server, each as often as it has one."""
        return sorted(
            tag["Value"]
            for instance in self.instances("trading_server")
            for tag in instance["Tags"]
            if tag["Key"] == "Model"
        )

    def tagged(self) -> list[str]:
        """ARNs of what carries the environment's tags, but for what has ended and merely shows for a while."""
        filters = [{"Key": "Project", "Values": ["algo-trading"]}, {"Key": "Environment", "Values": [self.name]}]
        found = self.aws.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=filters)
        arns = {each["ResourceARN"] for page in found for each in page["ResourceTagMappingList"]}
        ended = {instance["InstanceId"] for instance in self.instances(states=["terminated", "shutting-down"])}
        gateways = self.aws.client("ec2").describe_nat_gateways(Filters=[{"Name": "state", "Values": ["deleted"]}])
        ended |= {gateway["NatGatewayId"] for gateway in gateways["NatGateways"]}
        return sorted(arn for arn in arns if arn.rpartition("/")[2] not in ended)

    def publish(self, *models: str, content: str = "weights") -> None:
        publish(self.aws, self.bucket, models, content)

    def retire(self, model: str) -> None:
        s3 = self.aws.client("s3")
        for found in s3.list_objects_v2(Bucket=self.bucket, Prefix=f"models/{model}/").get("Contents", []):
            s3.delete_object(Bucket=self.bucket, Key=found["Key"])


def publish(aws: Aws, bucket: str, models: Iterable[str] = MODELS, content: str = "weights") -> None:
    """Put models into a bucket as the model team does, which also makes it."""
    s3 = aws.client("s3")
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=bucket)
    for model in models:
        for name in ("model.json", "metrics.json"):
            s3.put_object(Bucket=bucket, Key=f"models/{model}/{name}", Body=content.encode())


def copied_inventories(to: Path, **changed: Mapping[str, Any]) -> Path:
    """A copy of all inventories; `qa={"algo_region": "x"}` writes a setting into that environment's own file."""
    shutil.copytree(ROOT / "inventories", to, symlinks=True)
    for environment, settings in changed.items():
        path = to / environment / "group_vars" / "all" / "settings.yml"
        lines = path.read_text().splitlines()
        for name, value in settings.items():
            lines = [line for line in lines if not line.startswith(f"{name}:")]
            lines.append(f"{name}: {json.dumps(value)}")
        path.write_text("\n".join(lines) + "\n")
    return to


def kill_tree(pid: int) -> None:
    """Ansible's workers and modules lead sessions of their own, so that no signal to a group finds them all."""
    for process in family_of(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _kill(running: subprocess.Popen[bytes]) -> None:
    """Kill only the process that a person would kill; what it has started has to end with it."""
    family = family_of(running.pid)
    running.kill()
    running.wait()
    until = time.monotonic() + 60
    while left := [pid for pid in family if lives(pid)]:
        assert time.monotonic() < until, f"still running after the kill: {left}"
        time.sleep(0.05)


def family_of(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
