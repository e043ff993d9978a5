# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/halt.yml and playbooks/resume.yml: two calls, with reason, person and time in the flag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.plugins.module_utils._process import person
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_reason
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import read_orders
from ansible_collections.algo.trading.tests.integration.environments import MODELS, Environment

if TYPE_CHECKING:
    from conftest import Aws, Playbook

FLAG = "/algo-trading/qa/halt"
REASON = {"algo_reason": 'wrong prices in AAPL: "see" {it\'s}', "algo_person": "the desk"}


def test_trading_is_halted_and_resumed_with_a_reason(
    fresh_aws: Aws, playbook: Playbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    ssm = fresh_aws.client("ssm")

    refused = qa(playbook="playbooks/halt.yml", fails=True)
    assert "Give the reason" in refused.output
    stranger = qa(playbook="playbooks/halt.yml", fails=True, algo_account_id="999999999999", **REASON)
    assert "Use credentials of that account" in " ".join(stranger.output.split())
    # Ansible takes the first word and drops the others, here a second model.
    dropped = qa(
        "-e", "algo_models=momentum/AAPL/a, momentum/GOOG/b", playbook="playbooks/halt.yml", fails=True, **REASON
    )
    assert "'momentum/GOOG/b' after -e belongs to no variable" in " ".join(dropped.output.split())
    assert refused.writes == stranger.writes == dropped.writes == {}

    planned = qa("--check", playbook="playbooks/halt.yml", **REASON)
    assert planned.writes == {}
    halted = qa(playbook="playbooks/halt.yml", **REASON)
    assert dict(halted.writes) == {"ssm:PutParameter": 1}
    value = ssm.get_parameter(Name=FLAG)["Parameter"]["Value"]
    assert value.startswith("halted by the desk, 20")
    assert value.endswith(f": {REASON['algo_reason']}")
    assert halt_reason(ssm, FLAG, now=datetime.now(UTC)) == f"trading is halted: {FLAG} is {value!r}"

    # A second halt replaces the reason; the first is in the parameter's history. Nobody is named.
    monkeypatch.delenv("USER", raising=False)
    qa(playbook="playbooks/halt.yml", algo_reason="exchange down")
    who = person(fresh_aws.client("sts").get_caller_identity()["Arn"])
    assert f"halted by {who}, 20" in halt_reason(ssm, FLAG, now=datetime.now(UTC))
    assert "exchange down" in halt_reason(ssm, FLAG, now=datetime.now(UTC))

    # Somebody names no symbol by mistake.
    empty = qa(playbook="playbooks/resume.yml", fails=True, algo_symbols="", **REASON)
    assert "algo_symbols is empty" in empty.output
    assert empty.writes == {}

    resumed = qa(playbook="playbooks/resume.yml", algo_reason="prices are right again", algo_person="the desk")
    assert resumed.output.count("Nothing is halted or held in qa.") == 1
    assert ssm.get_parameter(Name=FLAG)["Parameter"]["Value"].startswith("false (resumed by the desk, 20")
    assert halt_reason(ssm, FLAG, now=datetime.now(UTC)) == ""
    history = [entry["Value"].split()[0] for entry in ssm.get_parameter_history(Name=FLAG)["Parameters"]]
    assert history == ["halted", "halted", "false"]


def test_some_are_halted_and_held_until_a_time(fresh_aws: Aws, playbook: Playbook) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    ssm, schedules = fresh_aws.client("ssm"), fresh_aws.client("scheduler")
    ssm.put_parameter(Name=FLAG, Value="false", Type="String")
    group = "algo-trading-trading-server-shutdown-qa"
    schedules.create_schedule_group(Name=group)

    qa(playbook="playbooks/halt.yml", algo_symbols="AAPL, MSFT", **REASON)
    endless = qa(playbook="playbooks/hold.yml", fails=True, **REASON)
    assert "A hold needs its end" in endless.output
    assert endless.writes == {}
    planned = qa(
        "--check", playbook="playbooks/hold.yml", algo_models=MODELS[0], algo_until="2099-01-05T18:00", **REASON
    )
    assert planned.writes == {}
    held = qa(playbook="playbooks/hold.yml", algo_models=MODELS[0], algo_until="2099-01-05T18:00", **REASON)
    assert dict(held.writes) == {"ssm:PutParameter": 1, "scheduler:CreateSchedule": 1}
    made = schedules.get_schedule(Name="hold-20990105T180100", GroupName=group)
    assert made["ScheduleExpression"] == "at(2099-01-05T18:01:00)"
    assert (made["ActionAfterCompletion"], made["ScheduleExpressionTimezone"]) == ("DELETE", "America/New_York")

    now = datetime.now(UTC)
    orders = read_orders(ssm.get_parameter(Name=FLAG)["Parameter"]["Value"])
    assert orders.halted("momentum/MSFT/x-outer_0_inner_0", now)
    assert orders.held(MODELS[0], now)
    assert not orders.everything_halted(now)
    status = " ".join(qa(playbook="playbooks/status.yml").output.split())
    assert "In force: halt of symbol AAPL, MSFT, by the desk" in status
    assert f"hold of model {MODELS[0]} until 2099-01-05T18:00-05:00" in status

    # Of what stays in force each line is shown once.
    resumed = qa("--diff", playbook="playbooks/resume.yml", algo_symbols="AAPL, MSFT", **REASON)
    assert resumed.output.count("halt of symbol AAPL, MSFT") == 1
    assert resumed.output.count(f"hold of model {MODELS[0]} until") == 1
