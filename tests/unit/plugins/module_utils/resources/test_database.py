"""What AWS does to a database by itself is never undone, and its last snapshot has one name."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import database
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide, desired_settings


def instance(**settings: Any) -> dict[str, Any]:
    attributes = {"id": "algo-trading-mlflow-server-qa", "made": "2026-03-04 05:06:07.890000+00:00"}
    return {"ours": True, "settings": settings, "attributes": attributes, "tags": {}}


@pytest.mark.parametrize(
    ("wanted", "installed", "settled"),
    [
        ("17", "17.4", "17.4"),
        ("17.2", "17.4", "17.4"),
        ("17.10", "17.9", "17.10"),
        ("17.4", "17.4", "17.4"),
        ("18", "17.4", "18"),
        ("16", "17.4", "16"),
    ],
)
def test_minor_versions_are_awss_business(wanted: str, installed: str, settled: str) -> None:
    found = instance(engine_version=installed)
    assert desired_settings(database.INSTANCE, {"engine_version": wanted}, found) == {"engine_version": settled}


@pytest.mark.parametrize(
    ("wanted", "limit", "actual", "settled"), [(20, 100, 40, 40), (60, 100, 40, 60), (20, None, 40, 20)]
)
def test_storage_that_grew_is_not_shrunk(wanted: int, limit: int | None, actual: int, settled: int) -> None:
    given = {"allocated_storage": wanted, "max_allocated_storage": limit}
    assert (
        desired_settings(database.INSTANCE, given, instance(allocated_storage=actual))["allocated_storage"] == settled
    )


def test_a_change_that_waits_for_the_maintenance_window_is_not_made_twice() -> None:
    answer = {
        "Engine": "postgres",
        "EngineVersion": "17.4",
        "DBInstanceClass": "db.t4g.micro",
        "MasterUsername": "mlflow",
        "AllocatedStorage": 20,
        "DBInstanceArn": "arn:db",
        "DBInstanceStatus": "available",
        "PendingModifiedValues": {"DBInstanceClass": "db.t4g.small"},
    }
    found = database._instance("db", answer)
    assert found.settings["db_instance_class"] == "db.t4g.small"
    assert found.pending_deletion == ""
    assert database._instance("db", {**answer, "DBInstanceStatus": "deleting"}).pending_deletion == "being deleted"


@pytest.mark.parametrize("setting", ["engine", "master_username", "storage_encrypted", "db_subnet_group_name"])
def test_a_database_is_never_replaced(setting: str) -> None:
    assert decide(database.INSTANCE, {setting: "b"}, instance(**{setting: "a"})).action == "refuse"


def test_the_last_snapshot_is_named_after_the_database_however_often_it_is_tried() -> None:
    arguments = database.INSTANCE.delete_arguments(instance())
    assert arguments["final_db_snapshot_identifier"] == "algo-trading-mlflow-server-qa-final-20260304050607"
    assert arguments["skip_final_snapshot"] is False


def test_a_protected_database_is_not_removed() -> None:
    assert decide(database.INSTANCE, None, instance(deletion_protection=True)).action == "refuse"
    assert decide(database.INSTANCE, None, instance(deletion_protection=False)).action == "delete"


def test_an_adopted_database_keeps_what_aws_has_moved_on() -> None:
    theirs = {**instance(engine_version="17.4", allocated_storage=50), "ours": False}
    wanted = {"engine_version": "16", "allocated_storage": 20}
    settled = desired_settings(database.INSTANCE, wanted, theirs, adopt=True)
    assert settled == {"engine_version": "17.4", "allocated_storage": 50}
