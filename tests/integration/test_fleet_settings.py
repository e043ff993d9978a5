# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The play and the function trading_server follow the same settings of a fleet: filters, session, layout, halt."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import fleet_variables, source_variables
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import load_document
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import SystemClock
from ansible_collections.algo.trading.tests.integration.components import SCOPE, Roles, lines

if TYPE_CHECKING:
    from conftest import Aws, Playbook

sys.path.insert(0, str(Path(__file__).parents[2] / "lambda"))
from trading_day import events, fleet
from trading_day.report import Log
from trading_day.settings import Settings

BUCKET = "algo-model-deploy"
PARAMETERS = SCOPE.parameter()
MOMENTUM = ("momentum/AAPL/sma-outer_0_inner_0", "momentum/MSFT/sma-outer_0_inner_0")
OTHERS = tuple(
    f"{kind}/{symbol}/rsi-outer_0_inner_0" for kind in ("mean", "trend") for symbol in ("AAPL", "GOOG", "IBM")
)
# Always open: from midnight to a minute before midnight, every day.
OPEN = {"open": "00:00", "close": "23:59", "timezone": "UTC", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}


class Qa:
    """The trading servers' role, and the function as it runs by the clock."""

    def __init__(self, roles: Roles) -> None:
        self.roles, self.aws = roles, roles.aws

    def play(self, **more: Any) -> Any:
        return self.roles("aws_trading_server", **more)

    def function(self, *, dry_run: bool = False) -> dict[str, Any]:
        settings = Settings.from_env("trading_server", {"PROJECT": "algo-trading", "ENVIRONMENT": "qa"})
        client = self.aws.client
        clients = fleet.Aws(client("ec2"), client("s3"), client("ssm"), lambda: None, lambda: None)
        clock = SystemClock()
        request = events.Request("start", dry_run=dry_run)
        return fleet.run(settings, request, clients, clock, Log(settings, io.StringIO()), clock.monotonic() + 300)

    def publish(self, *names: str, content: str = "weights") -> None:
        for name in names:
            self.aws.client("s3").put_object(Bucket=BUCKET, Key=f"models/{name}/model.bin", Body=content.encode())

    def parameter(self, name: str) -> str:
        return str(self.aws.client("ssm").get_parameter(Name=f"{PARAMETERS}/{name}")["Parameter"]["Value"])

    def halt(self, value: str) -> None:
        ssm = self.aws.client("ssm")
        ssm.put_parameter(Name=f"{PARAMETERS}/halt", Value=value, Type="String", Overwrite=True)

    def servers(self, *states: str) -> list[str]:
        filters = [{"Name": "instance-state-name", "Values": list(states or ("pending", "running", "stopped"))}]
        found = self.aws.client("ec2").describe_instances(Filters=filters)["Reservations"]
        tags = [tag for group in found for item in group["Instances"] for tag in item["Tags"]]
        return sorted(tag["Value"] for tag in tags if tag["Key"] == "Model")


@pytest.fixture
def qa(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Qa:
    roles = Roles(fresh_aws, playbook, tmp_path)
    roles.prepare_functions(tmp_path / "build")
    # The bucket is there and holds models before the first run, as where the model team came first.
    fresh_aws.client("s3").create_bucket(Bucket=BUCKET)
    return Qa(roles)


def fleet_lines(run: Any) -> list[tuple[str, str]]:
    return [(action, name) for action, kind, name in lines(run) if kind == "trading server"]


def test_the_function_leaves_alone_what_the_play_does(qa: Qa) -> None:
    qa.publish(*MOMENTUM, *OTHERS)
    # On an empty account the plan shows what the run would do, although there is no halt flag yet.
    planned = qa.play(check=True)
    assert fleet_lines(planned) == [("create", name) for name in sorted((*MOMENTUM, *OTHERS))]
    qa.play()
    assert qa.servers() == sorted((*MOMENTUM, *OTHERS))

    # Fewer models by the settings, which is more than a run may end without a word; that word is kept nowhere.
    filtered = {"aws_trading_server_model_types": ["momentum"]}
    refused = qa.play(fails=True, **filtered)
    assert "-e aws_trading_server_once_max_terminate_share=0.75" in " ".join(refused.output.split())
    before = qa.parameter("trading_server/fleet")
    qa.play(**filtered, aws_trading_server_once_max_terminate_share="0.75", aws_trading_server_once_power="running")
    assert qa.servers() == sorted(MOMENTUM)
    assert qa.parameter("trading_server/fleet") == before
    document = load_document(before)
    assert document["source"]["types"] == ["momentum"]
    assert (document["max_terminate_share"], document["power"]) == (0.2, "keep")

    morning = qa.function()
    assert (morning["changed"], morning["reason"]) == (False, "every server is up to date")
    assert qa.servers() == sorted(MOMENTUM)

    # A new version while the session is open: neither of them interrupts.
    qa.publish(MOMENTUM[0], content="better weights")
    held = qa.play(**filtered, aws_trading_server_session=OPEN)
    assert ("held", MOMENTUM[0]) in fleet_lines(held) or "restart is held" in held.output
    answer = qa.function()
    assert [line["action"] for line in answer["plan"] if line["model"] == MOMENTUM[0]] == ["hold"]
    assert not answer["changed"]
    # Once, on purpose.
    forced = qa.play(**filtered, aws_trading_server_session=OPEN, aws_trading_server_once_force="true")
    assert fleet_lines(forced) == [("restart", MOMENTUM[0])]


# One other value for every setting of the fleet that may be given with -e.
ONCE: dict[str, Any] = {
    "model_types": ["momentum"],
    "model_symbols": ["AAPL"],
    "model_names": ["sma"],
    "on_invalid": "error",
    "model_require_manifest": True,
    "model_exact": True,
    "instance_types": ["m7g.large"],
    "user_data": "#!/bin/sh",
    "configuration": {"level": "debug"},
    "market": "spot",
    "monitoring": True,
    "metadata_hop_limit": 2,
    "root_volume": {"size": 20},
    "overrides": [{"symbol": "AAPL", "market": "spot"}],
    "tags": {"Desk": "one"},
    "selection": {"symbols": ["AAPL"]},
    "power": "running",
    "on_change": {"version": "replace", "configuration": "ignore"},
    "replace": {"batch_size": 1},
    "session": OPEN,
    "calendar": {"exchange": "XNYS", "closed": ["2027-01-04"]},
    "health": {"check": "none"},
    "protect_tags": {"Keep": "yes"},
    "max_terminate_share": 1,
    "launch_batch": 7,
    "action_batch": 7,
    "workers": 2,
    "rate_limits": {"factor": 2},
    "wait": False,
    "wait_timeout": 60,
    "claim_grace": 5,
}
LAYOUT = {"owner", "prefix", "pattern"}


def test_what_is_given_for_one_run_is_not_stored_for_the_function(qa: Qa) -> None:
    variables = {**fleet_variables(), **{f"source.{name}": it for name, it in source_variables().items()}}
    settable = {name for option, name in variables.items() if option.removeprefix("source.") not in LAYOUT}
    given = {f"aws_trading_server_{name}": value for name, value in ONCE.items()}
    assert given.keys() == settable
    qa.publish(*MOMENTUM)
    qa.play(aws_trading_server_tags={"Desk": "two"})
    before = qa.parameter("trading_server/fleet")

    # All of them, and settings of the environment that others follow from.
    general: dict[str, Any] = {"algo_timezone": "Europe/Berlin", "algo_schedules": False}
    # An image, too, which the run resolves and the parameter does not get.
    general["algo_release"] = {"algo_modeling": "9.9.9", "images": {"host": "another"}}
    general["images"] = dict.fromkeys(("host", "gpu"), qa.roles.variables["images"]["gpu"])
    planned = qa.play(check=True, aws_trading_server_tags={"Desk": "two"}, extra={**given, **general})
    assert not [line for line in lines(planned) if line[2] == f"{PARAMETERS}/trading_server/fleet"]
    said = planned.plan["summary"]["notes"]["once"]
    assert said.startswith(
        "Given with -e, for this run only: action_batch, calendar, claim_grace, configuration, health, "
    )
    assert {"session", "source", "on_change", "image_id"} <= set(re.findall(r"\w+", said))

    # The run follows them: one model fewer, with a session in which nothing else is touched.
    some = {name: given[name] for name in given if name.endswith(("_model_symbols", "_max_terminate_share", "_power"))}
    planned = qa.play(check=True, aws_trading_server_tags={"Desk": "two"}, extra=some)
    assert fleet_lines(planned) == [("delete", MOMENTUM[1])]
    done = qa.play(aws_trading_server_tags={"Desk": "two"}, extra=some)
    assert lines(done) == lines(planned)
    assert "max_terminate_share, power, source" in done.plan["summary"]["notes"]["once"]
    assert qa.parameter("trading_server/fleet") == before
    assert [line["action"] for line in qa.function(dry_run=True)["plan"]] == ["create", "no-op"]

    # An ordinary run stores nothing else, and says nothing.
    again = qa.play(aws_trading_server_tags={"Desk": "two"})
    assert "once" not in again.plan["summary"]["notes"]
    assert qa.parameter("trading_server/fleet") == before


def test_every_run_obeys_the_halt_flag(qa: Qa) -> None:
    qa.publish(MOMENTUM[0])
    qa.play()
    assert qa.parameter("halt") == "false"

    qa.halt("2030-01-02 by the desk")
    qa.publish(MOMENTUM[1])
    reason = "trading is halted: /algo-trading/qa/halt is '2030-01-02 by the desk'"
    for check in (True, False):
        halted = qa.play(check=check)
        assert reason in halted.plan["summary"]["notes"]["halt"]
        assert f"create is held: {reason}" in halted.output
    assert qa.function()["reason"] == reason
    assert qa.servers() == [MOMENTUM[0]]
    # Nor does a run set the flag back.
    assert qa.parameter("halt") == "2030-01-02 by the desk"

    # Somebody removed the flag of a fleet that exists: the next run makes it again, and halts.
    qa.aws.client("ssm").delete_parameter(Name=f"{PARAMETERS}/halt")
    planned = qa.play(check=True)
    assert "is 'true (the flag was missing)'" in planned.plan["summary"]["notes"]["halt"]
    qa.play()
    assert qa.parameter("halt") == "true (the flag was missing)"
    assert qa.servers() == [MOMENTUM[0]]

    qa.halt("false")
    qa.play()
    assert qa.servers() == sorted(MOMENTUM)


def test_another_layout_is_one_setting(qa: Qa) -> None:
    layout = r"v2/(?P<symbol>\w+)/(?P<type>\w+)\.(?P<model>\w+)\.(?P<outer>\d+)\.(?P<inner>\d+)"
    qa.aws.client("s3").put_object(Bucket=BUCKET, Key="v2/TSLA/momentum.sma.0.1.zip", Body=b"{}")
    qa.publish(MOMENTUM[0])
    qa.play(aws_trading_server_model_pattern=layout)
    assert qa.servers() == ["momentum/TSLA/sma-outer_0_inner_1"]
    assert load_document(qa.parameter("trading_server/fleet"))["source"]["prefix"] == "v2/"
    assert qa.function()["reason"] == "every server is up to date"
