"""A list of resources: planned as a whole, made side by side, stopped only where a reference leads to a failure."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.components import Roles, lines, reasons
from ansible_collections.algo.trading.tests.integration.components.proxy import Form, Proxy

if TYPE_CHECKING:
    from conftest import Aws, Playbook, Run

NETWORK = "algo-trading-network-qa"
REFUSED = "10.9.1.0/24"
_ANSWER = (
    b"<Response><Errors><Error><Code>InvalidSubnet.Conflict</Code><Message>This CIDR block is taken.</Message></Error>"
    b"</Errors><RequestID>1</RequestID></Response>"
)


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    return Roles(fresh_aws, playbook, tmp_path)


def group(name: str, **more: Any) -> dict[str, Any]:
    settings = {"description": name, "vpc_id": "${vpc.id}", "rules": [], "rules_egress": []}
    return {"module": "amazon.aws.ec2_security_group", "name": f"{NETWORK}-{name}", "settings": settings, **more}


def network() -> list[dict[str, Any]]:
    # The last ones are written first: order is a matter of references.
    return [
        {
            "id": "table",
            "module": "amazon.aws.ec2_vpc_route_table",
            "for_each": "{{ range(2) | list }}",
            "name": f"{NETWORK}-${{each}}",
            "settings": {"vpc_id": "${vpc.id}", "subnets": ["${subnet.${each}.id}"], "routes": []},
        },
        {"id": "vpc", "module": "amazon.aws.ec2_vpc_net", "name": NETWORK, "settings": {"cidr_block": ["10.9.0.0/16"]}},
        {
            "id": "subnet",
            "module": "amazon.aws.ec2_vpc_subnet",
            "for_each": ["10.9.0.0/24", REFUSED],
            "name": f"{NETWORK}-${{each.index}}",
            "settings": {"vpc_id": "${vpc.id}", "cidr": "${each}", "az": "us-east-1a"},
        },
        group("alone"),
    ]


def task(*entries: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"algo.trading.resources": {"resources": list(entries), "component": "network"}, **more}]


def told(run: Run) -> str:
    return " ".join(run.output.split())


def refuse_subnet(form: Form) -> bytes | None:
    return _ANSWER if form.get("Action") == ["CreateSubnet"] and form["CidrBlock"] == [REFUSED] else None


def test_a_plan_is_its_run_line_by_line_in_the_order_of_the_list(roles: Roles) -> None:
    aws = roles.aws
    aws.forget_calls()
    planned = roles(tasks=task(*network()), check=True)
    assert aws.calls(write=True) == []
    assert lines(planned) == [
        ("create", "route table", f"{NETWORK}-0"),
        ("create", "route table", f"{NETWORK}-1"),
        ("create", "VPC", NETWORK),
        ("create", "subnet", f"{NETWORK}-0"),
        ("create", "subnet", f"{NETWORK}-1"),
        ("create", "security group", f"{NETWORK}-alone"),
    ]
    assert "vpc_id: (known after apply)" in planned.stdout
    made = roles(tasks=task(*network()))
    assert (lines(made), reasons(made)) == (lines(planned), reasons(planned))
    assert all(line["seconds"] > 0 for line in made.plan["plan"])
    # Each line is shown once, when its change was made: the VPC's before those that need it.
    shown = [line.split("does not")[0].split() for line in made.stdout.splitlines() if "does not exist" in line]
    assert len(shown) == 6
    assert shown[0] == ["+", "VPC", NETWORK]

    aws.forget_calls()
    again = roles(tasks=task(*network()))
    assert (lines(again), aws.calls(write=True)) == ([], [])

    changed = network()
    changed[3]["settings"]["rules"] = [{"proto": "tcp", "ports": [443], "cidr_ip": "10.9.0.0/16"}]
    changed[1]["settings"]["dns_hostnames"] = False
    planned = roles(tasks=task(*changed), check=True)
    assert lines(planned) == [("update", "VPC", NETWORK), ("update", "security group", f"{NETWORK}-alone")]
    # Each diff stands under its own line.
    said = planned.stdout[planned.stdout.index("~ VPC") :]
    assert said.index("dns_hostnames: false") < said.index("~ security group") < said.index("tcp/443 10.9.0.0/16")
    assert lines(roles(tasks=task(*changed))) == lines(planned)


def test_one_that_fails_stops_only_those_that_refer_to_it(roles: Roles) -> None:
    aws = roles.aws
    with Proxy(aws.endpoint, answer=refuse_subnet) as refusing:
        failed = roles(tasks=task(*network()), endpoint=refusing.endpoint, fails=True)
    assert failed.rc != 0
    assert "This CIDR block is taken." in told(failed)
    assert f"Not done, because subnet {NETWORK}-1 failed: route table {NETWORK}-1." in told(failed)
    status = {(line["type"], line["name"]): line["status"] for line in failed.plan["plan"]}
    assert status == {
        ("route table", f"{NETWORK}-0"): "done",
        ("route table", f"{NETWORK}-1"): "not started",
        ("VPC", NETWORK): "done",
        ("subnet", f"{NETWORK}-0"): "done",
        ("subnet", f"{NETWORK}-1"): "failed",
        ("security group", f"{NETWORK}-alone"): "done",
    }
    assert failed.plan["counts"]["create"] == 4
    # The next run continues.
    assert lines(roles(tasks=task(*network()))) == [
        ("create", "route table", f"{NETWORK}-1"),
        ("create", "subnet", f"{NETWORK}-1"),
    ]


def test_what_does_not_need_each_other_is_made_at_the_same_time(roles: Roles) -> None:
    """No group is answered before all three have been asked for: one after the other, they would never be."""
    together = threading.Barrier(3)

    def wait_for_the_others(form: Form) -> bytes | None:
        if form.get("Action") == ["CreateSecurityGroup"]:
            together.wait(timeout=120)
        return None

    vpc = {"vpc_id": roles.network["vpc_id"]}
    groups = [group(name) for name in "abc"]
    entries = [entry | {"settings": entry["settings"] | vpc} for entry in groups]
    with Proxy(roles.aws.endpoint, answer=wait_for_the_others) as waiting:
        made = roles(tasks=task(*entries), endpoint=waiting.endpoint)
    assert len(lines(made)) == 3
    assert not together.broken


WRONG: dict[str, dict[str, Any]] = {
    "${vcp.id} names vcp, which is the id of no entry. Did you mean vpc?": {"settings": {"vpc_id": "${vcp.id}"}},
    "${vpc.ident}: a VPC has id, name, not ident.": {"settings": {"vpc_id": "${vpc.ident}"}},
    "vpc_idd is not an argument of amazon.aws.ec2_security_group": {"settings": {"vpc_idd": "${vpc.id}"}},
    "setings is not an option. Did you mean settings?": {"setings": {}},
    "another entry has the same id": {"id": "vpc"},
    "These entries need each other: ": {"id": "a", "settings": {"vpc_id": "${b.id}"}},
}


def test_a_wrong_list_is_refused_before_anything_is_made(roles: Roles) -> None:
    vpc = network()[1]
    other = group("b", id="b", settings={"description": "b", "vpc_id": "${a.id}"})
    tasks: list[dict[str, Any]] = []
    for said, change in WRONG.items():
        entries = [vpc, group("a", id="a") | change, *([other] if "each other" in said else [])]
        tasks += task(*entries, ignore_errors=True)
    roles.aws.forget_calls()
    for check in (True, False):
        refused = roles(tasks=tasks, check=check)
        messages = [failure["message"] for failure in refused.plan["failed"]]
        assert len(messages) == len(WRONG)
        assert [said for said, message in zip(WRONG, messages, strict=True) if said not in message] == []
        assert refused.plan["plan"] == []
    assert roles.aws.calls(write=True) == []


def test_what_is_refused_stays_and_what_refers_to_it_is_not_tried(roles: Roles) -> None:
    roles(tasks=task(*network()))
    roles.aws.forget_calls()
    changed = network()
    changed[1]["settings"]["cidr_block"] = ["10.8.0.0/16"]
    others = group("new", settings={"description": "new", "vpc_id": roles.network["vpc_id"]})
    for check in (True, False):
        refused = roles(tasks=task(*changed, others), check=check, fails=True)
        assert "AWS cannot change cidr_block of an existing VPC" in told(refused)
        assert f"Not done, because VPC {NETWORK} failed: route table {NETWORK}-0" in told(refused)
        assert [line[::2] for line in lines(refused)] == [("refuse", NETWORK), ("create", f"{NETWORK}-new")]
    assert roles.aws.count(write=True)["ec2:CreateSecurityGroup"] == 1
