"""What an environment's settings must agree on, with each other and with the other environments'."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.settings import (
    contradictions,
    instance_types,
    lasting_only,
    unknown_names,
    used_by,
)

QA: dict[str, Any] = {
    "algo_project": "algo-trading",
    "algo_environment": "qa",
    "algo_account_id": "123456789012",
    "algo_region": "us-east-1",
    "algo_regions": ["us-east-1"],
    "algo_timezone": "America/New_York",
    "algo_model_bucket": "models-qa",
    "algo_data_bucket": "data-qa",
    "algo_artifact_bucket": "artifacts-qa",
    "aws_network_cidr": "10.30.0.0/16",
    "aws_network_zone_count": 2,
    "aws_mlflow_server_instance_type": "t4g.small",
    "aws_trading_server_instance_types": ["c7g.xlarge", "m8g.metal-24xl"],
    "aws_trading_server_schedule": "cron(0 9 ? * MON-FRI *)",
    "aws_trading_server_root_volume": {"size": 16},
    "algo_release": {"images": {"host": "/aws/service/debian/release/12/latest/arm64", "gpu": "ami-0123456789abcdef0"}},
}
OTHERS = {
    "dev": {"algo_model_bucket": "models-dev", "algo_data_bucket": "data-dev", "aws_network_cidr": "10.20.0.0/16"},
    "prod": {"algo_model_bucket": "models-prod", "aws_network_cidr": "10.40.0.0/16"},
}


def findings(**changed: Any) -> list[str]:
    return contradictions({**QA, **changed}, OTHERS)


def test_right_settings_have_no_findings() -> None:
    assert findings() == []
    assert findings(aws_trading_server_check_schedule="", aws_trading_server_shutdown_early_schedule="") == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"aws_trading_server_paper": False}, "aws_trading_server_paper: false trades money, which only prod may."),
        (
            {"aws_trading_server_drain_seconds": 250, "aws_trading_server_shutdown_drain_timeout": 300},
            "aws_trading_server_shutdown_drain_timeout: 300 s end a drain of 250 s too early. Use at least 310 s",
        ),
        (
            {"aws_trading_server_shutdown_drain_timeout": 300, "aws_trading_server_shutdown_timeout": 400},
            "aws_trading_server_shutdown_timeout: 400 s end the function before a drain of 300 s. Use at least 420 s",
        ),
        ({"algo_project": "Algo Trading"}, "algo_project: 'Algo Trading' is not valid in names"),
        ({"algo_project": "-algo"}, "algo_project: '-algo' is not valid"),
        ({"algo_account_id": 123456789012345}, "algo_account_id: '123456789012345' is not a valid AWS account id"),
        ({"algo_account_id": "12345678901"}, "algo_account_id: '12345678901' is not a valid AWS account id"),
        ({"algo_region": "eu-west-1"}, "algo_region: eu-west-1 is not a region of qa. Its regions: us-east-1."),
        ({"algo_regions": []}, "algo_region: us-east-1 is not a region of qa. Its regions: none."),
        (
            {"algo_calendar": {"early_closes": {"2026-12-25": "13:00"}}},
            "algo_calendar: early_closes: 2026-12-25 has no",
        ),
        ({"algo_data_bucket": "Data"}, "algo_data_bucket: 'Data' is not a valid bucket name"),
        ({"algo_data_bucket": "da..ta"}, "algo_data_bucket: 'da..ta' is not a valid bucket name"),
        (
            {"algo_data_bucket": "models-dev"},
            "algo_data_bucket: models-dev is already used by dev. qa needs its own bucket",
        ),
        ({"algo_model_bucket": "data-qa"}, "algo_model_bucket: data-qa is also set as algo_data_bucket"),
        ({"aws_network_cidr": "10.20.64.0/18"}, "aws_network_cidr: 10.20.64.0/18 overlaps 10.20.0.0/16 of dev"),
        ({"aws_network_cidr": "11.0.0.0/16"}, "aws_network_cidr: 11.0.0.0/16 is not a private range"),
        ({"aws_network_cidr": "10.30.0.0/28"}, "aws_network_cidr: 10.30.0.0/28 is a /28"),
        ({"aws_network_cidr": None}, "aws_network_cidr: "),
        ({"aws_network_vpc_id": "vpc-1"}, "aws_network_private_subnet_ids: is empty"),
        (
            {"aws_network_private_subnet_ids": ["subnet-1"]},
            "aws_network_private_subnet_ids: is set without aws_network_vpc_id",
        ),
        (
            {"aws_mlflow_server_instance_type": "small"},
            "aws_mlflow_server_instance_type: 'small' is not a valid instance type",
        ),
        ({"aws_trading_server_instance_types": ["t4g.small", "t4g"]}, "aws_trading_server_instance_types: 't4g' is no"),
        ({"algo_release": {"images": {"host": "debian"}}}, "algo_release.images.host: 'debian' is neither an image id"),
        ({"algo_timezone": "EST5PDT8"}, "algo_timezone: 'EST5PDT8' is not a valid time zone"),
        ({"algo_timezone": "../etc"}, "algo_timezone: '../etc' is not a valid time zone"),
        (
            {"aws_trading_server_schedule": "cron(0 9 * * *)"},
            "aws_trading_server_schedule: 'cron(0 9 * * *)' is not a valid schedule",
        ),
        (
            {"aws_trading_server_root_volume": {"size": "big"}},
            "aws_trading_server_root_volume: root_volume.size must be a number",
        ),
        (
            {"aws_trading_server_replace": {"batch": 3}},
            "aws_trading_server_replace: replace.batch is not a known setting",
        ),
        (
            {"aws_trading_server_overrides": [{"market": "spot"}]},
            "aws_trading_server_overrides: overrides[0] must name a type",
        ),
        (
            {"aws_trading_server_max_terminate_share": 2},
            "aws_trading_server_max_terminate_share: max_terminate_share must be",
        ),
        (
            {"aws_trading_server_instance_types": ["c7g.xlarge", "m7i.metal-24xl"]},
            "aws_trading_server_instance_types: instance_types are of arm64 and x86_64; one image cannot run on both",
        ),
        (
            {"aws_trading_server_model_prefix": "models/", "aws_trading_server_model_pattern": "v2/(?P<type>a)"},
            "aws_trading_server_model_pattern: source.pattern: The pattern 'v2/(?P<type>a)' has no named group(s)",
        ),
        (
            {"aws_trading_server_model_prefix": "v2/"},
            "aws_trading_server_model_prefix: source.prefix: No key that begins with the prefix 'v2/' can match",
        ),
        (
            {"aws_trading_server_model_owner": "123"},
            "aws_trading_server_model_owner: source.owner must be an account id of 12 digits",
        ),
        (
            {"aws_trading_server_session": {"open": "09:30"}},
            "aws_trading_server_session: session.close is required",
        ),
        (
            {"aws_trading_server_tags": {"cost centre": "7"}},
            "aws_trading_server_tags: tags.cost centre: the key must not contain",
        ),
    ],
)
def test_a_contradiction_names_its_setting(changed: dict[str, Any], said: str) -> None:
    found = findings(**changed)
    assert [finding for finding in found if finding.startswith(said)], found
    assert len(found) == 1


def test_a_given_vpc_has_its_own_addresses() -> None:
    assert (
        findings(
            aws_network_vpc_id="vpc-1", aws_network_private_subnet_ids=["subnet-1"], aws_network_cidr="10.20.0.0/16"
        )
        == []
    )


def test_an_environment_in_a_given_vpc_clashes_with_nobody() -> None:
    shared = {
        "dev": {"aws_network_vpc_id": "vpc-1", "aws_network_cidr": "10.30.0.0/16"},
        "prod": {"aws_network_cidr": "nonsense"},
    }
    assert contradictions(QA, shared) == []


def test_schedules_of_every_form_are_right() -> None:
    for schedule in ("rate(1 hour)", "rate(15 minutes)", "at(2030-01-02T03:04:05)", "cron(0/15 8-16 ? * MON-FRI 2030)"):
        assert findings(aws_alpaca_websocket_start_schedule=schedule) == []


def test_an_empty_session_is_none() -> None:
    assert findings(aws_trading_server_session={}) == []


def test_instance_types_are_found_by_the_settings_names() -> None:
    assert instance_types({**QA, "aws_gpu_instance_types": ["g6.xlarge"], "aws_x_instance_type": ""}) == {
        "aws_mlflow_server_instance_type": ["t4g.small"],
        "aws_trading_server_instance_types": ["c7g.xlarge", "m8g.metal-24xl"],
        "aws_gpu_instance_types": ["g6.xlarge"],
    }


def test_an_unknown_name_is_told_with_the_one_that_was_meant() -> None:
    assert unknown_names(["algo_regoin", "zebra"], ["algo_region", "algo_tags"]) == [
        "algo_regoin: is not a known setting. Did you mean algo_region?",
        "zebra: is not a known setting. docs/settings.md lists all settings.",
    ]
    assert unknown_names([], ["algo_region"]) == []


def test_what_the_identities_follow_is_not_set_for_once() -> None:
    names = ["algo_region", "aws_trading_server_once_power", "aws_trading_server_session"]
    assert lasting_only(names) == []
    layout = [f"aws_trading_server_model_{name}" for name in ("owner", "prefix", "pattern")]
    assert lasting_only([*names, *layout]) == [
        f"{name}: decides what the environment's identities may read, so it cannot be set on the command line. "
        "Set it in settings.yml."
        for name in layout
    ]


def test_a_component_needs_the_types_and_the_image_of_its_own_hosts() -> None:
    settings = {
        "aws_mlflow_server_instance_type": "t4g.small",
        "aws_mlflow_server_image": "host",
        "aws_gpu_instance_types": ["g6.xlarge"],
        "aws_gpu_instance_image": "gpu",
        "aws_gpu_instance_enabled": True,
        "aws_trading_server_instance_types": ["c7g.large"],
        "aws_trading_server_shutdown_timeout": 60,
    }
    assert used_by(settings, ["network", "mlflow_server"]) == {"instance_types": ["t4g.small"], "images": ["host"]}
    assert used_by(settings, ["gpu_instance"]) == {"instance_types": ["g6.xlarge"], "images": ["gpu"]}
    assert used_by({**settings, "aws_gpu_instance_enabled": False}, ["gpu_instance"])["images"] == []
    assert used_by(settings, ["trading_server"]) == {"instance_types": ["c7g.large"], "images": ["host"]}
    assert used_by(settings, []) == {"instance_types": [], "images": []}
