# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/drain.yml: the servers of some models are drained and stopped at once, by the deployed function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.algo.trading.tests.integration.environments import MODELS, Environment

if TYPE_CHECKING:
    from conftest import Aws, Playbook

REASON = {"algo_reason": 'wrong prices in AAPL: "see" {it\'s}', "algo_person": "the desk"}


def test_the_servers_of_some_models_are_drained_and_stopped(fresh_aws: Aws, playbook: Playbook) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    drain = "playbooks/drain.yml"
    unnamed = qa(playbook=drain, fails=True, **REASON)
    assert "Nothing was changed. Name the models" in unnamed.output
    unreasoned = qa(playbook=drain, fails=True, algo_models=MODELS[0])
    assert "Nothing was changed. Give the reason" in unreasoned.output
    stranger = qa(playbook=drain, fails=True, algo_models=MODELS[0], algo_account_id="999999999999", **REASON)
    assert "Use credentials of that account" in " ".join(stranger.output.split())
    assert unnamed.writes == unreasoned.writes == stranger.writes == {}

    qa.publish(*MODELS)
    qa(aws_trading_server_once_power="running")
    planned = qa("--check", playbook=drain, algo_models=[MODELS[0]], **REASON)
    assert f"{MODELS[0]} (i-" in planned.output
    assert "planned, would be drained and stopped" in planned.output
    assert sorted(states(qa).values()) == ["running"] * 3

    drained = qa(playbook=drain, algo_models=f"{MODELS[0]}, {MODELS[1]}", **REASON)
    assert "stopped, drained: " in " ".join(drained.output.split())
    assert states(qa) == {MODELS[0]: "stopped", MODELS[1]: "stopped", MODELS[2]: "running"}

    again = qa(playbook=drain, algo_models=[MODELS[0], MODELS[2]], fails=True, **REASON)
    assert f"{MODELS[0]}: no trading server of this model runs" in " ".join(again.output.split())
    assert states(qa)[MODELS[2]] == "stopped"


def states(environment: Environment) -> dict[str, str]:
    """Model → state of its server."""
    servers = environment.instances(component="trading_server")
    return {
        next(tag["Value"] for tag in server["Tags"] if tag["Key"] == "Model"): server["State"]["Name"]
        for server in servers
    }
