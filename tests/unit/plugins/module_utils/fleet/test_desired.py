# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted: launch groups, configuration, claims."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.desired import (
    desired_servers,
    read_models,
    require_launchable,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import SettingsError
from ansible_collections.algo.trading.plugins.module_utils.fleet.placement import (
    Candidate,
    candidates,
    client_token,
    make_batches,
    quota_class,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

BASE: dict[str, Any] = {
    "project": "algo-trading",
    "environment": "qa",
    "image_id": "ami-1",
    "instance_types": ["t3.nano", "t3.micro"],
    "subnet_ids": ["subnet-a", "subnet-b", "subnet-c"],
}


def model(number: int, symbol: str = "GOOG") -> dict[str, Any]:
    return {
        "name": f"momentum/{symbol}/m{number:03d}-outer_0_inner_1",
        "type": "momentum",
        "symbol": symbol,
        "model": f"m{number:03d}",
        "outer": 0,
        "inner": 1,
        "version": "v1",
        "size": 12,
    }


def servers(count: int, **changes: Any) -> list[Any]:
    return desired_servers(FleetSettings.from_dict(BASE | changes), [model(number) for number in range(count)])


def test_models_are_spread_evenly_over_the_subnets() -> None:
    homes = [server.home for server in servers(9)]
    assert {homes.count(subnet) for subnet in BASE["subnet_ids"]} == {3}


def test_batches_are_even_and_never_larger_than_asked() -> None:
    batches = make_batches(servers(1000), 100)
    assert len(batches) == 12
    assert {len(batch.servers) for batch in batches} <= {83, 84}


def test_a_batch_keeps_its_token_until_it_or_its_place_changes() -> None:
    batch = make_batches(servers(9), 100)[0]
    place = Candidate("t3.nano", "subnet-a")
    token = client_token(batch, batch.servers, place, "fleet")
    assert token == client_token(make_batches(servers(9), 100)[0], batch.servers, place, "fleet")
    assert len(token) <= 64
    assert token.isascii()
    others = {
        client_token(batch, batch.servers[1:], place, "fleet"),
        client_token(batch, batch.servers, Candidate("t3.micro", "subnet-a"), "fleet"),
        client_token(batch, batch.servers, place, "another"),
        client_token(make_batches(servers(9, image_id="ami-2"), 100)[0], batch.servers, place, "fleet"),
    }
    batch.generation = 1
    others.add(client_token(batch, batch.servers, place, "fleet"))
    assert len(others | {token}) == 6


def test_places_are_tried_by_type_first_and_from_the_home_subnet_on() -> None:
    found = [(item.instance_type, item.subnet_id[-1]) for item in candidates(servers(1)[0].spec, "subnet-b")]
    assert found == [(kind, subnet) for kind in ("t3.nano", "t3.micro") for subnet in "bca"]


def test_quotas_are_counted_by_family() -> None:
    assert quota_class("t3.nano", "spot") == quota_class("m5.large", "spot") == "spot standard"
    assert quota_class("g5.xlarge", "on-demand") == "on-demand G"
    assert quota_class("p4d.24xlarge", "on-demand") == "on-demand P"
    assert quota_class("trn1.2xlarge", "on-demand") == "on-demand Trn"


def test_an_override_makes_a_launch_group_of_its_own_with_merged_configuration() -> None:
    settings = FleetSettings.from_dict(
        BASE
        | {
            "configuration": {"feed": {"host": "a", "port": 1}},
            "overrides": [
                {"symbol": ["AAPL"], "instance_types": ["m5.large"], "configuration": {"feed": {"port": 2}}},
            ],
        }
    )
    plain, other = desired_servers(settings, [model(0), model(1, "AAPL")])[::-1]
    assert plain.spec.settings.instance_types == ("t3.nano", "t3.micro")
    assert other.spec.settings.instance_types == ("m5.large",)
    assert other.spec.settings.configuration == {"feed": {"host": "a", "port": 2}}
    assert plain.spec.config_digest != other.spec.config_digest
    assert plain.spec.launch_digest == other.spec.launch_digest


def test_the_configuration_reaches_the_host_as_a_file() -> None:
    spec = servers(1, configuration={"feed": "f"})[0].spec
    head, _newline, document = spec.user_data.partition("\n")
    assert head == "#cloud-config"
    file = json.loads(document)["write_files"][0]
    content = json.loads(base64.b64decode(file["content"]))
    assert content["configuration"] == {"feed": "f"}
    assert content["environment"] == "qa"


def test_a_script_comes_after_the_configuration() -> None:
    data = servers(1, user_data="#!/bin/sh\necho hi\n")[0].spec.user_data
    assert data.startswith("Content-Type: multipart/mixed")
    assert data.index("cloud-config") < data.index("x-shellscript")


def test_user_data_that_ec2_would_refuse_is_refused_here() -> None:
    with pytest.raises(SettingsError, match="EC2 allows 16384"):
        servers(1, user_data="#" * 20000)


def test_the_launch_is_hardened_and_unclaimed() -> None:
    parameters = servers(1)[0].spec.parameters(
        instance_type="t3.nano", subnet_id="subnet-a", count=5, least=1, batch="b"
    )
    assert parameters["MetadataOptions"]["HttpTokens"] == "required"
    assert parameters["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    assert parameters["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    tags = {tag["Key"]: tag["Value"] for tag in parameters["TagSpecifications"][0]["Tags"]}
    assert tags["ManagedBy"] == "algo.trading"
    assert "Model" not in tags


def test_the_claim_says_which_model_it_is() -> None:
    tags = dict(servers(1)[0].claim_tags)
    assert tags["Model"] == "momentum/GOOG/m000-outer_0_inner_1"
    assert tags["Name"] == "algo-trading-trading-server-qa-momentum-GOOG-m000-outer_0_inner_1"
    assert tags["ModelVersion"] == "v1"


def test_a_model_that_is_listed_twice_or_half_is_set_aside_and_the_others_are_read() -> None:
    long = {**model(3), "name": "momentum/GOOG/" + "x" * 256}
    good, bad = read_models([model(0), {"name": "a", "type": "b"}, model(1), model(1), {"type": "b"}, long])
    assert [item.name for item in good] == [model(0)["name"]]
    assert bad.pop(model(1)["name"]) == "listed more than once"
    assert "has no symbol, model" in bad.pop("a")
    assert "has no name" in bad.pop("")
    assert "must fit a tag" in bad.pop(long["name"])
    assert not bad


def test_a_launch_without_image_or_subnet_is_refused_before_any_call() -> None:
    with pytest.raises(SettingsError, match="image_id and subnet_ids must be set"):
        require_launchable(servers(1, image_id="", subnet_ids=[]))
