# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages about published objects: what they say is only where to look, and nothing but a new model is touched."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.algo.trading.plugins.module_utils import trading_day as day
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils.fleet import plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import function_settings, load_document
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.models import Model
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import fleet_parameter
from trading_day import new_models, report
from trading_day.events import Published
from trading_day.settings import Settings

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

SETTINGS = Settings.from_env("trading_server", {"PROJECT": "algo-trading", "ENVIRONMENT": "qa"})
ARN = "arn:aws:sqs:us-east-1:123456789012:algo-trading-trading-server-qa-new-models"
NOW = datetime(2026, 6, 2, 15, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


def told(*keys: str, bucket: str = "models", event: str = "ObjectCreated:Put") -> str:
    entries = [{"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for key in keys]
    return json.dumps({"Records": entries})


def message(body: str, **changed: Any) -> dict[str, Any]:
    return {"messageId": "m-1", "eventSource": "aws:sqs", "eventSourceARN": ARN, "body": body, **changed}


def read(world: World, *records: Any) -> tuple[Published, ...]:
    log = report.Log(SETTINGS, world.log)
    request = new_models.parse({"Records": list(records)}, SETTINGS, NOW, log)
    assert (request.action, request.scheduled, request.dry_run) == ("start", NOW, False)
    assert request.published is not None
    return request.published


def test_the_objects_of_a_batch_are_read_each_once(world: World) -> None:
    found = read(
        world,
        message(told("models/a/B+C/x-outer_0_inner_0/model+1.json", "models/a/B/x-outer_0_inner_0/%C3%A9")),
        message(told("models/a/B/x-outer_0_inner_0/%C3%A9")),
        message(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "models"})),
        message(told("models/a/B/gone", event="ObjectRemoved:Delete")),
    )
    assert [item.key for item in found] == [
        "models/a/B C/x-outer_0_inner_0/model 1.json",
        "models/a/B/x-outer_0_inner_0/é",
    ]
    assert "Message ignored" not in {line["message"] for line in world.lines()}


@pytest.mark.parametrize(
    "record",
    [
        message("no JSON"),
        message("[]"),
        message("null"),
        message("{}"),
        message(json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]})),
        message(json.dumps({"Records": 3})),
        message(told("models/x"), eventSourceARN=ARN.replace("-qa-", "-prod-")),
        message(told("models/x"), eventSourceARN=f"{ARN}-failed"),
        message(told("models/x"), eventSource="aws:s3"),
        {"body": told("models/x")},
        {"messageId": "m-1"},
        "text",
        None,
    ],
)
def test_a_message_that_is_none_of_ours_is_named_and_the_others_count(world: World, record: Any) -> None:
    assert read(world, record, message(told("models/y"))) == (Published("models", "models/y"),)
    (said,) = [line for line in world.lines() if line["message"] == "Message ignored"]
    assert said["reason"]


@pytest.mark.parametrize("records", [None, {}, "text", 3])
def test_what_is_no_batch_is_refused(world: World, records: Any) -> None:
    event = {"Records": records}
    assert new_models.is_batch(event)
    with pytest.raises(InvalidInput, match="Records must be a list"):
        new_models.parse(event, SETTINGS, NOW, report.Log(SETTINGS, world.log))
    assert not any(map(new_models.is_batch, ({}, {"action": "start"}, None, [], "Records")))


def model(name: str, folder: bool = True) -> Model:
    type_, symbol, rest = name.split("/")
    key = f"models/{name}" if folder else f"models/{name}.tar.gz"
    return Model(key, name, type_, symbol, rest.split("-outer")[0], 0, 0, "models", f"s3://models/{key}", "v", 1, 1, "")


OLD, NEW, HALF, OTHER = (model(f"sma/{symbol}/a-outer_0_inner_0") for symbol in ("AAPL", "MSFT", "NVDA", "GOOG"))
ARCHIVE = model("sma/MSFT/a-outer_0_inner_01", folder=False)


def chosen(world: World, monkeypatch: pytest.MonkeyPatch, *keys: str, bucket: str = "models", **options: Any) -> Any:
    """What is chosen, and the models that the fleet's code was asked about."""
    asked: list[Any] = []

    def reconcile(fleet: Any, _models: Any, _ec2: Any, *, check: bool, **_more: Any) -> FleetResult:
        assert check
        asked.append(fleet.selection.models)
        lines = [
            plan.Line(plan.LEAVE, OLD.name, "i-1", "is up to date"),
            plan.Line(plan.CREATE, NEW.name, "", "no server"),
            plan.Line(plan.ADOPT, ARCHIVE.name, "i-2", "claimed"),
            plan.Line(plan.HOLD, HALF.name, "", "create is held: it is being published", held=plan.CREATE),
            plan.Line(plan.RESTART, OTHER.name, "i-3", "another version"),
        ]
        return FleetResult(plan.Plan(tuple(line for line in lines if line.model in fleet.selection.models)))

    monkeypatch.setattr(new_models, "reconcile", reconcile)
    given = {"halt_parameter": "/algo-trading/qa/halt", "source": {"bucket": "models"}, **options}
    fleet = new_models.careful(function_settings(load_document(fleet_parameter(**given))))
    assert fleet.source.require_manifest
    log = report.Log(SETTINGS, world.log)
    published = [Published(bucket, key) for key in keys]
    everything = [OLD, NEW, HALF, OTHER, ARCHIVE]
    return new_models.choose(fleet, everything, published, None, world.clock, log, 900), asked


def test_only_models_without_a_server_are_chosen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [f"{each.key}/weights.bin" for each in (OLD, NEW, HALF, OTHER)]
    names, asked = chosen(world, monkeypatch, *files, f"{NEW.key}/manifest.json", ARCHIVE.key)
    assert names == sorted([NEW.name, ARCHIVE.name])
    assert asked == [(OLD.name, NEW.name, HALF.name, OTHER.name, ARCHIVE.name)]
    why = {line["model"]: line["reason"] for line in world.lines() if line["message"] == "Model not added"}
    assert why == {
        OLD.name: "is up to date",
        HALF.name: "create is held: it is being published",
        OTHER.name: "another version",
    }


def test_what_belongs_to_no_model_of_ours_asks_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A key that merely begins like a model's is another's.
    names, asked = chosen(world, monkeypatch, "models/readme.txt", f"{NEW.key}1/weights.bin", f"{NEW.key}.tmp")
    assert (names, asked) == ([], [])
    assert chosen(world, monkeypatch, f"{NEW.key}/manifest.json", bucket="models-prod") == ([], [])
    said = [line["reason"] for line in world.lines() if line["message"] == "Object ignored"]
    assert said == ["it is no part of a model that gets a server"] * 3 + ["this environment's models are in models"]
    selected = {"selection": {"symbols": ["AAPL"]}}
    assert chosen(world, monkeypatch, f"{NEW.key}/manifest.json", **selected) == ([], [])


def test_many_strange_objects_do_not_fill_the_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(world, monkeypatch, *(f"models/{number}" for number in range(1000)))
    assert len(world.lines()) == 21
    assert world.lines()[-1]["more"] == 980


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2027])
def test_a_year_of_days(year: int) -> None:
    """From an hour before the open until the close, in the exchange's time, and on no other day."""
    calendar = Calendar()
    on = date(year, 1, 1)
    while on.year == year:
        session = calendar.on(on)
        moments = [datetime.combine(on, time(hour, 45), NEW_YORK) for hour in range(24)]
        acts = [moment.hour for moment in moments if day.add_models(calendar, moment).act]
        last = 12 if session and session.closes.time() == time(13) else 15
        assert acts == (list(range(8, last + 1)) if session else []), on
        on = date.fromordinal(on.toordinal() + 1)


def test_why_a_new_model_waits() -> None:
    calendar = Calendar()

    def reason(*when: int) -> str:
        found = day.add_models(calendar, datetime(*when, tzinfo=NEW_YORK))  # type: ignore[arg-type, misc]
        assert not found.act
        return found.reason

    assert reason(2026, 11, 26, 11) == "XNYS has no session on Thursday, 2026-11-26"
    assert reason(2026, 11, 27, 7) == "the session of 2026-11-27 opens at 09:30; its start takes new models"
    assert reason(2026, 11, 27, 14) == "the session of 2026-11-27 closed at 13:00; the next start takes new models"
    assert day.add_models(calendar, datetime(2026, 11, 26, 11, tzinfo=NEW_YORK)).idle, "as the other rules on a holiday"
    ended = day.add_models(calendar, datetime(2099, 1, 5, 11, tzinfo=NEW_YORK))
    assert (ended.act, ended.alert) == (False, True)
