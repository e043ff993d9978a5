# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/halt.yml and playbooks/resume.yml: two calls, with reason, person and time in the flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_reason
from ansible_collections.algo.trading.tests.integration.environments import Environment

if TYPE_CHECKING:
    from conftest import Aws, Playbook

FLAG = "/algo-trading/qa/halt"
REASON = {"algo_reason": 'wrong prices in AAPL: "see" {it\'s}', "algo_person": "the desk"}


def test_trading_is_halted_and_resumed_with_a_reason(fresh_aws: Aws, playbook: Playbook) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    ssm = fresh_aws.client("ssm")

    refused = qa(playbook="playbooks/halt.yml", fails=True)
    assert "Give the reason" in refused.output
    stranger = qa(playbook="playbooks/halt.yml", fails=True, algo_account_id="999999999999", **REASON)
    assert "Use credentials of that account" in " ".join(stranger.output.split())
    assert refused.writes == stranger.writes == {}

    planned = qa("--check", playbook="playbooks/halt.yml", **REASON)
    assert planned.writes == {}
    halted = qa(playbook="playbooks/halt.yml", **REASON)
    assert dict(halted.writes) == {"ssm:PutParameter": 1}
    value = ssm.get_parameter(Name=FLAG)["Parameter"]["Value"]
    assert value.startswith("halted by the desk, 20")
    assert value.endswith(f": {REASON['algo_reason']}")
    assert halt_reason(ssm, FLAG) == f"trading is halted: {FLAG} is {value!r}"

    # A second halt replaces the reason; the first is in the parameter's history.
    qa(playbook="playbooks/halt.yml", algo_reason="exchange down", algo_person="the desk")
    assert "exchange down" in halt_reason(ssm, FLAG)

    qa(playbook="playbooks/resume.yml", algo_reason="prices are right again", algo_person="the desk")
    assert ssm.get_parameter(Name=FLAG)["Parameter"]["Value"].startswith("false (resumed by the desk, 20")
    assert halt_reason(ssm, FLAG) == ""
    history = [entry["Value"].split()[0] for entry in ssm.get_parameter_history(Name=FLAG)["Parameters"]]
    assert history == ["halted", "halted", "false"]
