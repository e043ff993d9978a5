"""Identities: what they may not do is proved, what they need is shown, and the role is run through its whole life."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("iamprover", reason="the proofs need iamprover, a development dependency")

from ansible_collections.algo.trading.tests.integration.policies import identities as world
from ansible_collections.algo.trading.tests.integration.policies import prover
from ansible_collections.algo.trading.tests.integration.policies.identities import ENVIRONMENTS, Document, Identity
from ansible_collections.algo.trading.tests.integration.policies.needs import Needs

if TYPE_CHECKING:
    from conftest import Aws, Playbook, Run

Rendered = dict[str, list[Identity]]
MLFLOW = world.resource_name("mlflow_server", "qa")
KEY = f"arn:aws:kms:{world.REGION}:{world.ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
EVERYTHING: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}],
}
MODULES = ["amazon.aws.iam_role", "amazon.aws.iam_policy", "amazon.aws.iam_instance_profile"]


@pytest.fixture(scope="module")
def rendered(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return world.render(aws.env, tmp_path_factory.mktemp("identities"))


@pytest.fixture(scope="module")
def rendered_in_full(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """With every optional statement."""
    where = tmp_path_factory.mktemp("identities-in-full")
    return world.render(
        aws.env,
        where,
        aws_identity_kms_key_arns=[KEY],
        aws_identity_subnet_ids=["subnet-0a", "subnet-0b"],
        aws_identity_new_models=True,
    )


def statements(document: Document) -> list[dict[str, Any]]:
    return list(document["Statement"])


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def everybody(rendered: Rendered) -> Iterator[Identity]:
    return itertools.chain.from_iterable(rendered.values())


# ---- what is made ----


def test_every_environment_has_its_identities_and_dev_none_for_schedules(rendered: Rendered) -> None:
    hosts = {"alpaca-websocket", "trading-server", "mlflow-server", "gpu-instance"}
    functions = {f"{name}-lambda" for name in ("alpaca-websocket", "trading-server", "trading-server-shutdown")}
    schedules = {name.replace("-lambda", "-scheduler") for name in functions}
    for environment, identities in rendered.items():
        expected = hosts | functions | (schedules if environment != "dev" else set())
        assert {identity.role for identity in identities} == expected, environment


def test_names_and_documents_carry_the_environment_and_no_other(rendered: Rendered) -> None:
    for identity in everybody(rendered):
        assert f"-{identity.environment}" in identity.name
        text = json.dumps([identity.trust, identity.policy])
        for other in set(ENVIRONMENTS) - {identity.environment}:
            assert not re.search(rf"[-/\"]{other}[-/\"]", text), f"{identity.name} names {other}"


def test_every_document_fits_into_a_role(rendered_in_full: Rendered) -> None:
    # AWS counts characters without white space: 10,240 for all inline policies of a role, 2,048 for who may assume it.
    for identity in everybody(rendered_in_full):
        assert len(json.dumps(identity.policy, separators=(",", ":"))) <= 10_240, identity.name
        assert len(json.dumps(identity.trust, separators=(",", ":"))) <= 2_048, identity.name


def test_every_statement_has_an_id_of_its_own(rendered_in_full: Rendered) -> None:
    for identity in everybody(rendered_in_full):
        sids = [statement["Sid"] for statement in statements(identity.policy)]
        assert len(set(sids)) == len(sids)
        assert all(sid.isalnum() for sid in sids)


# ---- who may assume a role ----


def test_models_are_read_where_the_layout_has_them_and_only_from_their_owner(aws: Aws, tmp_path: Path) -> None:
    layout = {
        "aws_trading_server_model_pattern": r"v2/(?P<symbol>\w+)/(?P<type>\w+)",
        "aws_trading_server_model_prefix": "",
        "aws_trading_server_model_owner": "999999999999",
    }
    for identities in world.render(aws.env, tmp_path, algo_settings=layout).values():
        found = [
            (statement["Resource"].rpartition(":")[2].partition("/")[2], statement["Condition"])
            for identity in identities
            for statement in statements(identity.policy)
            if statement["Sid"] in ("ModelList", "Models")
        ]
        assert {where for where, _condition in found} == {"", "v2/*"}
        assert all(
            condition == {"StringEquals": {"aws:ResourceAccount": "999999999999"}} for _where, condition in found
        )


def test_only_the_right_service_may_assume_a_role_and_only_for_us(rendered: Rendered) -> None:
    account = {"StringEquals": {"aws:SourceAccount": world.ACCOUNT}}
    for identity in everybody(rendered):
        (statement,) = statements(identity.trust)
        assert statement["Action"] == "sts:AssumeRole"
        (service,) = statement["Principal"].values()
        if identity.role.endswith("-lambda"):
            assert (service, statement["Condition"]) == ("lambda.amazonaws.com", account)
        elif identity.role.endswith("-scheduler"):
            group = f"schedule-group/{identity.name.removesuffix('-scheduler')}"
            source = {"aws:SourceArn": f"arn:aws:scheduler:{world.REGION}:{world.ACCOUNT}:{group}"}
            assert (service, statement["Condition"]) == ("scheduler.amazonaws.com", {**account, "ArnEquals": source})
        else:
            # EC2 sends no source: a condition on one would deny every host.
            assert (service, "Condition" in statement) == ("ec2.amazonaws.com", False)


# ---- the proofs ----


@pytest.mark.parametrize(("own", "other"), list(itertools.permutations(ENVIRONMENTS, 2)))
def test_no_identity_reaches_what_is_named_after_another_environment(rendered: Rendered, own: str, other: str) -> None:
    claim = prover.of_another(own, other)
    for identity in rendered[own]:
        assert prover.refute(prover.principal_of(identity), claim) is None


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_whatever_an_identity_touches_is_its_environments_own(rendered: Rendered, environment: str) -> None:
    for identity, claim in itertools.product(rendered[environment], prover.own_only(environment)):
        assert prover.refute(prover.principal_of(identity), claim) is None


def test_no_name_belongs_to_two_environments() -> None:
    for own, other in itertools.combinations(ENVIRONMENTS, 2):
        for left, right in itertools.product(prover.named(own), prover.named(other)):
            assert not prover.overlap(left, right), f"{left} and {right}"


def test_only_the_fleets_function_can_act_as_another_role_and_only_as_its_servers(rendered: Rendered) -> None:
    # Who may assume a role is tested above: services only. So passing is the one way there is, and chains end here.
    ways = {
        (giver.name, role.name)
        for giver, role in itertools.product(everybody(rendered), repeat=2)
        if prover.refute(prover.principal_of(giver), prover.Claim("takes on", ("iam:*", "sts:*"), (role.arn,)))
    }
    servers = [world.resource_name("trading_server", environment) for environment in ENVIRONMENTS]
    assert ways == {(f"{server}-lambda", server) for server in servers}


def mutants(identity: Identity) -> Iterator[tuple[str, Document]]:
    """The policy with each statement widened beyond its environment, in every way that a slip of the pen could."""
    for position, statement in enumerate(statements(identity.policy)):
        resources = as_list(statement["Resource"])
        for number, resource in enumerate(resources):
            widened = re.sub(WITH_ENVIRONMENT, "*", resource)
            if widened != resource:
                copied = copy.deepcopy(identity.policy)
                copied["Statement"][position]["Resource"] = [*resources[:number], widened, *resources[number + 1 :]]
                yield f"{statement['Sid']}: {widened}", copied
        for operator, keys in statement.get("Condition", {}).items():
            for key in keys:
                if key.endswith("Tag/Environment"):
                    copied = copy.deepcopy(identity.policy)
                    del copied["Statement"][position]["Condition"][operator][key]
                    yield f"{statement['Sid']}: without {key}", copied


WITH_ENVIRONMENT = (
    r"(?<=:::)[a-z0-9-]+|(?<=parameter/).*|(?<=log-group:).*|(?<=:secret:).*|(?<=document/).*|(?<=function:).*"
    r"|(?<=:role/).*|(?<=:sns:us-east-1:123456789012:).*|(?<=:sqs:us-east-1:123456789012:).*"
)


def test_every_widened_statement_makes_a_proof_fail(rendered: Rendered) -> None:
    # Otherwise the proofs would prove nothing.
    claims = prover.own_only("qa")
    tried = 0
    for identity in rendered["qa"]:
        for what, policy in mutants(identity):
            tried += 1
            mutant = prover.principal_of(identity, policy)
            assert any(prover.refute(mutant, claim) for claim in claims), f"{identity.name}, {what}: nobody noticed"
    assert tried > 50


def test_a_policy_for_everything_is_refuted_by_every_claim(rendered: Rendered) -> None:
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    almighty = prover.principal_of(rendered["qa"][0], everything)
    for claim in [*prover.own_only("qa"), prover.of_another("qa", "prod")]:
        assert prover.refute(almighty, claim), claim.name


# ---- least privilege ----


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_identity_can_do_what_it_is_for(rendered: Rendered, environment: str) -> None:
    needs = Needs(environment).all()
    for identity in rendered[environment]:
        principal = prover.principal_of(identity)
        refused = [need for need in needs[identity.role] if not prover.allows(principal, *need)]
        assert refused == [], identity.name


def test_no_identity_can_do_what_belongs_to_another_component(rendered: Rendered) -> None:
    principals = {identity.role: prover.principal_of(identity) for identity in rendered["qa"]}
    for role, too_much in Needs("qa").too_much().items():
        assert [request for request in too_much if prover.allows(principals[role], *request)] == [], role


def test_nothing_is_granted_that_nobody_needs(rendered: Rendered) -> None:
    needs = Needs("qa").all()
    for identity in rendered["qa"]:
        granted = {action for statement in statements(identity.policy) for action in as_list(statement["Action"])}
        assert granted == {action for action, _resource, _context in needs[identity.role]}, identity.name


def test_every_statement_is_needed(rendered: Rendered) -> None:
    needs = Needs("qa").all()
    for identity in rendered["qa"]:
        for statement in statements(identity.policy):
            rest = [other for other in statements(identity.policy) if other is not statement]
            without = prover.principal_of(identity, {**identity.policy, "Statement": rest})
            missing = [need for need in needs[identity.role] if not prover.allows(without, *need)]
            assert missing, f"{identity.name}: nobody would miss {statement['Sid']}"


# ---- form ----


def test_actions_are_spelled_out_and_only_unscopable_ones_have_every_resource(rendered_in_full: Rendered) -> None:
    for identity in everybody(rendered_in_full):
        for statement in statements(identity.policy):
            assert statement["Effect"] == "Allow"
            actions = as_list(statement["Action"])
            assert not [action for action in actions if "*" in action], identity.name
            if "*" in as_list(statement["Resource"]):
                assert set(actions) <= set(prover.UNSCOPED), identity.name


def test_aws_knows_no_resource_for_what_is_granted_on_every_resource() -> None:
    parliament = pytest.importorskip("parliament", reason="parliament brings AWS's table of actions")
    table = {
        f"{service['prefix']}:{privilege['privilege']}": privilege
        for service in parliament.iam_definition
        for privilege in service["privileges"]
    }
    scopable = [
        action
        for action in prover.UNSCOPED
        if any(resource["resource_type"] for resource in table[action]["resource_types"])
    ]
    assert scopable == []


@pytest.mark.filterwarnings("ignore:pkg_resources")
def test_a_policy_linter_finds_nothing(rendered_in_full: Rendered) -> None:
    parliament = pytest.importorskip("parliament", reason="parliament is a development dependency")
    for identity in everybody(rendered_in_full):
        findings = parliament.analyze_policy_string(json.dumps(identity.policy)).findings
        # It wants all that one action needs in one statement, where ours set different conditions for each.
        severe = [str(finding) for finding in findings if finding.issue != "RESOURCE_MISMATCH"]
        merged = parliament.analyze_policy_string(json.dumps(by_action(identity.policy))).findings
        assert severe + [str(finding) for finding in merged] == [], identity.name


def by_action(document: Document) -> Document:
    """The same grants with one statement for each action, without conditions."""
    resources: dict[str, set[str]] = {}
    for statement in statements(document):
        for action in as_list(statement["Action"]):
            resources.setdefault(action, set()).update(as_list(statement["Resource"]))
    merged = [
        {"Effect": "Allow", "Action": action, "Resource": sorted(found)} for action, found in sorted(resources.items())
    ]
    return {"Version": document["Version"], "Statement": merged}


# ---- the role on AWS ----


@pytest.fixture
def identity_role(playbook: Playbook, tmp_path: Path) -> Any:
    """Runs the role, after the reading that the playbooks do, for an environment."""
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Read the environment",
                    "algo.trading.environment_info": {
                        "project": "{{ algo_project }}",
                        "environment": "{{ algo_environment }}",
                        "modules": MODULES,
                    },
                    "register": "algo_account",
                },
                {
                    "name": "Run the role",
                    "ansible.builtin.include_role": {
                        "name": "algo.trading.aws_identity",
                        "tasks_from": "{{ entry | default('main') }}",
                    },
                },
            ],
        }
    ]
    path = tmp_path / "identity.yml"
    path.write_text(json.dumps(play))

    def run(environment: str = "qa", *flags: str, entry: str = "main", **extra: Any) -> Run:
        settings = world.settings(environment)
        del settings["algo_account"]
        variables = {**settings, "entry": entry, **extra}
        return playbook("-i", "localhost,", *flags, path, extra=variables, env={"ANSIBLE_STDOUT_CALLBACK": "default"})

    return run


def in_order(document: Document) -> Document:
    """The document as a plan shows it: order means nothing in a policy."""
    return {**document, "Statement": sorted(statements(document), key=lambda statement: statement["Sid"])}


def in_account(aws: Aws) -> dict[str, list[str]]:
    iam = aws.client("iam")
    return {
        "roles": sorted(role["RoleName"] for role in iam.list_roles()["Roles"]),
        "profiles": sorted(
            profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]
        ),
    }


def test_the_role_plans_makes_repeats_repairs_and_removes(
    fresh_aws: Aws, identity_role: Any, rendered: Rendered
) -> None:
    """One environment's whole life, beside another's identity and somebody else's that must stay."""
    aws = fresh_aws
    iam = aws.client("iam")
    trust = json.dumps(rendered["prod"][0].trust)
    neighbours = ["algo-trading-trading-server-prod", "algo-trading-trading-server-qa2"]
    for name in neighbours:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        iam.create_instance_profile(InstanceProfileName=name)
    aws.forget_calls()

    plan = identity_role("qa", "--check", "--diff")
    assert (plan.rc, plan.total("changed")) == (0, 1), plan.output
    assert aws.calls(write=True) == []
    assert in_account(aws)["roles"] == sorted(neighbours)

    assert identity_role().rc == 0
    made = in_account(aws)
    expected = sorted(identity.name for identity in rendered["qa"])
    assert made["roles"] == sorted([*expected, *neighbours])
    assert made["profiles"] == sorted([*(name for name in expected if name.endswith("-qa")), *neighbours])
    policies = {}
    for identity in rendered["qa"]:
        policy = iam.get_role_policy(RoleName=identity.name, PolicyName=identity.name)["PolicyDocument"]
        policies[identity.name] = policy
        assert in_order(policy) == identity.policy
        role = iam.get_role(RoleName=identity.name)["Role"]
        assert role["AssumeRolePolicyDocument"] == identity.trust
        assert role["Arn"] == identity.arn
        tags = {tag["Key"]: tag["Value"] for tag in role["Tags"]}
        assert tags.items() >= {"Project": "algo-trading", "Environment": "qa", "ManagedBy": "algo.trading"}.items()
        assert tags["Name"] == identity.name
    profile = iam.get_instance_profile(InstanceProfileName=MLFLOW)["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [MLFLOW]
    assert {"Key": "Component", "Value": "mlflow_server"} in profile["Tags"]

    aws.forget_calls()
    again = identity_role()
    assert (again.rc, again.total("changed")) == (0, 0), again.output
    assert aws.calls(write=True) == []

    # Somebody widens a policy, adds another, attaches a third and forgets the profile's role.
    victim = world.resource_name("trading_server", "qa")
    everything = json.dumps(EVERYTHING)
    iam.put_role_policy(RoleName=victim, PolicyName=victim, PolicyDocument=everything)
    iam.put_role_policy(RoleName=victim, PolicyName="backdoor", PolicyDocument=everything)
    iam.attach_role_policy(RoleName=victim, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    iam.remove_role_from_instance_profile(InstanceProfileName=victim, RoleName=victim)
    repaired = identity_role("qa", "--diff")
    assert (repaired.rc, repaired.total("changed")) == (0, 1), repaired.output
    assert iam.list_role_policies(RoleName=victim)["PolicyNames"] == [victim]
    assert iam.list_attached_role_policies(RoleName=victim)["AttachedPolicies"] == []
    assert iam.get_role_policy(RoleName=victim, PolicyName=victim)["PolicyDocument"] == policies[victim]
    assert iam.get_instance_profile(InstanceProfileName=victim)["InstanceProfile"]["Roles"][0]["RoleName"] == victim

    assert identity_role(algo_schedules=False).rc == 0
    left = [name for name in expected if not name.endswith("-scheduler")]
    assert in_account(aws)["roles"] == sorted([*left, *neighbours])

    # An interrupted removal: half is gone already.
    iam.remove_role_from_instance_profile(InstanceProfileName=victim, RoleName=victim)
    iam.delete_role_policy(RoleName=victim, PolicyName=victim)
    iam.delete_role(RoleName=victim)
    iam.remove_role_from_instance_profile(InstanceProfileName=MLFLOW, RoleName=MLFLOW)
    iam.delete_instance_profile(InstanceProfileName=MLFLOW)
    assert identity_role(entry="absent").rc == 0
    assert in_account(aws) == {"roles": sorted(neighbours), "profiles": sorted(neighbours)}
    gone = identity_role(entry="absent")
    assert (gone.rc, gone.total("changed")) == (0, 0)


def test_a_permissions_boundary_comes_and_goes(fresh_aws: Aws, identity_role: Any) -> None:
    iam = fresh_aws.client("iam")
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(EVERYTHING))["Policy"]["Arn"]
    name = MLFLOW
    for wanted in (boundary, ""):
        assert identity_role(aws_identity_permissions_boundary=wanted).rc == 0
        role = iam.get_role(RoleName=name)["Role"]
        assert role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "") == wanted


def test_a_role_of_the_same_name_that_is_not_ours_is_neither_changed_nor_removed(
    fresh_aws: Aws, identity_role: Any, rendered: Rendered
) -> None:
    iam = fresh_aws.client("iam")
    name = world.resource_name("trading_server", "qa")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(rendered["qa"][0].trust), Description="theirs")
    refused = identity_role()
    assert refused.rc != 0
    assert name in refused.output
    assert identity_role(entry="absent").rc == 0
    assert iam.get_role(RoleName=name)["Role"]["Description"] == "theirs"


def test_bad_settings_are_refused_before_anything_else(aws: Aws, tmp_path: Path) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"algo_account_id": "1234"}, "12-digit account id"),
        ({"algo_model_bucket": "algo-model-*"}, "must not be empty or contain a wildcard"),
        ({"algo_artifact_bucket": "algo-model-deploy"}, "are the same"),
        ({"aws_identity_model_prefix": "models/*"}, "a key prefix without wildcards"),
        ({"aws_identity_model_owner": "theirs"}, "a 12-digit account id"),
        ({"aws_identity_kms_key_arns": ["alias/mine"]}, "full key ARNs"),
        ({"aws_identity_subnet_ids": ["subnet-*"]}, "subnet ids"),
    ]
    hosts = {f"case{number}": {**world.settings("qa"), **setting} for number, (setting, _) in enumerate(bad)}
    outcomes = world.run_role(aws.env, tmp_path, hosts)
    for host, (setting, message) in zip(hosts, bad, strict=True):
        *before, last = outcomes[host]
        assert last.get("failed"), setting
        assert message in json.dumps(last), setting
        assert "plan" not in json.dumps(before), setting
