"""Runs single roles against the embedded AWS, in a network that is made beforehand: the roles' own work and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.algo.trading.plugins.module_utils._components import DATABASES, SINGLE_HOSTS, having
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope, dns_name

if TYPE_CHECKING:
    from conftest import Aws, Playbook, Run

ACCOUNT = "123456789012"
SCOPE = Scope("algo-trading", "qa")
_LOCAL = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}


class Roles:
    """`roles("aws_mlflow_server")` reads the account and runs the role as site.yml would, in the environment qa."""

    def __init__(self, aws: Aws, playbook: Playbook, tmp: Path) -> None:
        self.aws, self._playbook, self._tmp = aws, playbook, tmp
        self.network = self._make_network()
        images = aws.client("ec2").describe_images(Owners=["amazon"])["Images"]
        arm, intel = images[0]["ImageId"], images[1]["ImageId"]
        self.variables: dict[str, Any] = {
            "algo_project": "algo-trading",
            "algo_environment": "qa",
            "algo_region": aws.region,
            "algo_account_id": ACCOUNT,
            "algo_timezone": "America/New_York",
            "algo_tags": {"Team": "quants"},
            "algo_protect": False,
            "algo_schedules": True,
            "algo_alert_emails": [],
            "algo_model_bucket": "algo-model-deploy",
            "algo_data_bucket": SCOPE.name("alpaca_websocket", ACCOUNT),
            "algo_artifact_bucket": SCOPE.name("mlflow_server", ACCOUNT),
            "algo_aws_connection": {"region": aws.region, "endpoint_url": aws.endpoint},
            "algo_network": self.network,
            "images": {"host": arm, "gpu": intel},
        }

    def _make_network(self) -> dict[str, Any]:
        ec2, iam, route53 = (self.aws.client(service) for service in ("ec2", "iam", "route53"))
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{number}.0/24", AvailabilityZone=f"{self.aws.region}{zone}")
            for number, zone in enumerate("ab")
        ]
        names = [SCOPE.name(component) for component in SINGLE_HOSTS]
        for name in names:
            iam.create_instance_profile(InstanceProfileName=name)
        groups = {
            name: ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
            for name in (*names, *(SCOPE.name(component, "database") for component in DATABASES))
        }
        zone = route53.create_hosted_zone(
            Name=dns_name(SCOPE.project, SCOPE.environment),
            CallerReference="test",
            VPC={"VPCRegion": self.aws.region, "VPCId": vpc},
        )["HostedZone"]["Id"].rpartition("/")[2]
        route53.change_tags_for_resource(
            ResourceType="hostedzone",
            ResourceId=zone,
            AddTags=[{"Key": name, "Value": value} for name, value in SCOPE.tags("network").items()],
        )
        return {
            "vpc_id": vpc,
            "vpc_cidr": "10.1.0.0/16",
            "private_subnet_ids": [subnet["Subnet"]["SubnetId"] for subnet in subnets],
            "public_subnet_ids": [],
            "security_group_ids": groups,
            "zone_id": zone,
        }

    def prepare_functions(self, build: Path) -> None:
        """Make what the network and identity roles give to the trading servers and to the functions."""
        ec2, iam = self.aws.client("ec2"), self.aws.client("iam")
        server = SCOPE.name("trading_server")
        group = ec2.create_security_group(GroupName=server, Description=server, VpcId=self.network["vpc_id"])
        self.network["security_group_ids"][server] = group["GroupId"]
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        for component in having("function"):
            iam.create_role(RoleName=SCOPE.name(component, "lambda"), AssumeRolePolicyDocument=trust)
        iam.create_instance_profile(InstanceProfileName=server)
        self.variables |= {
            "algo_alert_emails": ["ops@example.org"],
            "algo_release": {"algo_modeling": "0.1.0"},
            "algo_build_dir": str(build),
        }
        self.aws.forget_calls()

    def __call__(
        self,
        *roles: str,
        check: bool = False,
        flags: tuple[str, ...] = ("--diff",),
        tasks: list[dict[str, Any]] | None = None,
        fails: bool = False,
        endpoint: str = "",
        env: dict[str, str | None] | None = None,
        extra: dict[str, Any] | None = None,
        **variables: Any,
    ) -> Run:
        """Settings are those of the inventory; `extra` is given with -e."""
        settings = {**self.variables, **variables}
        if endpoint:
            settings["algo_aws_connection"] = {"region": self.aws.region, "endpoint_url": endpoint}
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "module_defaults": {"group/algo.trading.aws": "{{ algo_aws_connection }}"},
            "tasks": [
                *_READ,
                *_package(roles),
                *(task for role in roles for task in _role_tasks(role)),
                *(tasks or []),
            ],
        }
        path, inventory = self._tmp / "roles.yml", self._tmp / "inventory.yml"
        path.write_text(json.dumps([play]))
        inventory.write_text(json.dumps({"all": {"hosts": {"localhost": _LOCAL}, "vars": settings}}))
        args = ("-i", inventory, "-c", "local", *flags, *(["--check"] if check else []), path)
        return self._playbook(*args, endpoint=False, check=None if fails else True, env=env, extra=extra)


def one(module: str, name: str, **more: Any) -> dict[str, Any]:
    """A task for one resource."""
    return {"algo.trading.resources": {"resources": [{"module": module, "name": name, **more}]}}


def _role_tasks(role: str) -> list[dict[str, Any]]:
    """A component's role, or what a component does with a role that has nothing but variables."""
    name = f"algo.trading.{role}"
    if role not in {"aws_bucket", "aws_host"}:
        return [{"ansible.builtin.include_role": {"name": name}}]
    resources = {"resources": f"{{{{ {role}_resources }}}}"}
    return [{"ansible.builtin.import_role": {"name": name}}, {"algo.trading.resources": resources}]


def _package(roles: tuple[str, ...]) -> list[dict[str, Any]]:
    """What playbooks/_provision.yml does once for all functions."""
    if {role.removeprefix("aws_") for role in roles}.isdisjoint(having("function")):
        return []
    return [{"ansible.builtin.import_role": {"name": "algo.trading.aws_lambda", "tasks_from": "package"}}]


_READ: list[dict[str, Any]] = [
    {
        "name": "Read the account",
        "algo.trading.environment_info": {
            "project": "{{ algo_project }}",
            "environment": "{{ algo_environment }}",
            "buckets": "{{ [algo_model_bucket, algo_data_bucket, algo_artifact_bucket] }}",
            "adopt": "{{ algo_adopt | default([]) }}",
            "images": "{{ images }}",
        },
        "register": "algo_account",
    },
]


def lines(run: Run) -> list[tuple[str, str, str]]:
    """What a run did or would do: action, type, name."""
    return [(line["action"], line["type"], line["name"]) for line in _changes(run)]


def reasons(run: Run) -> str:
    return "\n".join(reason for line in _changes(run) for reason in line["reasons"])


def _changes(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.plan["plan"] if line["action"] != "no-op"]
