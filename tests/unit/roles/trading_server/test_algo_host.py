# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host program decides: what it accepts, when it halts, and when a trader counts as drained."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from algo_host import artifact, cli, configuration, drain, halt, status, units
from algo_host.aws import Entry, error_of
from algo_host.errors import HostError, NotYet, Refused
from algo_host.imds import Claim, check_tags, wait_for_claim
from algo_host.places import Places, as_json, replace
from algo_host.settings import STOP_MARGIN, parse_settings
from ansible_collections.algo.trading.plugins.module_utils import _model_listing
from ansible_collections.algo.trading.plugins.module_utils.fleet import halt as fleet_halt

MODEL = "momentum/AAPL/sma-outer_0_inner_0"
GIVEN: dict[str, Any] = {
    "project": "algo-trading",
    "environment": "qa",
    "component": "trading_server",
    "configuration": {
        "region": "us-east-1",
        "feed_url": "ws://feed:8765",
        "model_bucket": "models-qa",
        "broker_secret": "broker",
        "halt_parameter": "/algo-trading/qa/halt",
        "log_group": "/algo-trading/qa/trading_server",
        "broker": {"url": "https://paper.example", "paper": True},
        "limits": {"max_position": 1000, "max_order": 500.5, "max_daily_loss": 100},
        "flatten_on_drain": False,
        "drain_seconds": 120,
        "loop_seconds": 30,
        "something_of_others": 1,
    },
}


def settings(**changed: Any) -> Any:
    return parse_settings({**GIVEN, "configuration": {**GIVEN["configuration"], **changed}}, "fleet.json")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


class Bucket:
    """A bucket with one model."""

    def __init__(self, files: dict[str, bytes], **changed: bytes) -> None:
        manifest = {
            "format": artifact.FORMAT,
            "name": MODEL,
            "files": [
                {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for path, content in files.items()
            ],
        }
        self.files = {**files, artifact.MANIFEST: json.dumps(manifest).encode()}
        self.reads: list[str] = []
        self.newer = ""
        self.files.update({path.replace("__", "."): content for path, content in changed.items()})

    def objects(self, bucket: str, folder: str) -> list[Entry]:
        def at(path: str) -> datetime:
            return datetime(2026, 1, 2 if path == self.newer else 1, tzinfo=timezone.utc)  # noqa: UP017

        return [
            Entry(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content), at(path))
            for path, content in self.files.items()
        ]

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        self.reads.append(key)
        yield self.files[key.removeprefix(f"models/{MODEL}/")]

    @property
    def claim(self) -> Claim:
        version = artifact.version_of(self.objects("", ""))
        return Claim("i-1", MODEL, f"s3://models-qa/models/{MODEL}/", version, "AAPL")


def test_a_model_is_verified_then_switched_to_and_the_one_before_is_kept(places: Places) -> None:
    first, second = Bucket({"model.json": b"{}", "more/x": b"1"}), Bucket({"model.json": b"{1}"})
    for bucket in (first, second):
        folder, new = artifact.fetch(bucket, bucket.claim, "models-qa", places.models)
        assert new
        assert artifact.switch(places.models, folder.name)
        assert not artifact.switch(places.models, folder.name)
    assert (places.models / "current").resolve().name == second.claim.version
    assert (places.models / "previous").resolve().name == first.claim.version
    assert sorted(path.name for path in (places.models / "current").iterdir()) == ["manifest.json", "model.json"]
    # What is there and intact needs no AWS.
    second.reads.clear()
    assert artifact.fetch(second, second.claim, "models-qa", places.models)[1] is False
    assert second.reads == []
    (places.models / "current" / "model.json").write_bytes(b"{2}")
    assert artifact.fetch(second, second.claim, "models-qa", places.models)[1] is True


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model__json": b"[]"}, "model.json has another SHA-256"),
        ({"model__json": b"{}}"}, "model.json has 3 bytes instead of 2"),
        ({"extra": b""}, "extra is not named by manifest.json"),
        ({"manifest__json": b"no"}, "manifest.json is missing or cannot be read"),
        ({"manifest__json": b'{"format": "x", "name": "y", "files": []}'}, "manifest.json is of 'y' in the format 'x'"),
    ],
)
def test_a_corrupt_model_is_refused_and_nothing_of_it_stays(places: Places, changed: Any, reason: str) -> None:
    bucket = Bucket({"model.json": b"{}"}, **changed)
    with pytest.raises(Refused, match="is corrupt") as refused:
        artifact.fetch(bucket, bucket.claim, "models-qa", places.models)
    assert reason in str(refused.value)
    assert list(places.models.iterdir()) == []


def test_a_model_that_is_being_published_or_has_changed_is_tried_again_later(places: Places) -> None:
    bucket = Bucket({"model.json": b"{}"}, model__json=b"[]")
    bucket.newer = "model.json"
    with pytest.raises(NotYet, match="is being published"):
        artifact.fetch(bucket, bucket.claim, "models-qa", places.models)
    del bucket.files[artifact.MANIFEST]
    with pytest.raises(NotYet, match="has no manifest"):
        artifact.fetch(bucket, bucket.claim, "models-qa", places.models)
    other = Bucket({"model.json": b"{}"})
    claim = Claim("i-1", MODEL, other.claim.uri, "0" * 32, "AAPL")
    with pytest.raises(NotYet, match="the instance is for 0000"):
        artifact.fetch(other, claim, "models-qa", places.models)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (f"s3://models-prod/models/{MODEL}/", "not in this environment's bucket"),
        (f"s3://models-qa/models/{MODEL}.tar.gz", "cannot be verified"),
        ("s3://models-qa/models/momentum/IBM/sma-outer_0_inner_0/", "is not that of the model"),
    ],
)
def test_a_model_of_another_place_is_refused(places: Places, uri: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        artifact.fetch(Bucket({}), Claim("i-1", MODEL, uri, "0" * 32, "AAPL"), "models-qa", places.models)


def test_a_model_that_is_gone_and_a_path_out_of_its_folder_are_refused(places: Places) -> None:
    bucket = Bucket({"model.json": b"{}", "../../etc/passwd": b"x"})
    with pytest.raises(Refused, match="unsafe name"):
        artifact.fetch(bucket, bucket.claim, "models-qa", places.models)
    bucket.files.clear()
    with pytest.raises(Refused, match="The model is gone"):
        artifact.fetch(bucket, bucket.claim, "models-qa", places.models)


def test_versions_are_the_lookups() -> None:
    entries = Bucket({"b.json": b"1", "a/x": b"22"}).objects("", "")
    evidence = [(entry.path, entry.etag, entry.size) for entry in entries]
    assert artifact.version_of(entries) == _model_listing.digest(evidence)
    assert artifact.LARGE == _model_listing.PAGE


@pytest.mark.parametrize(
    "value", ["false", " Off", "no", "0", "", "true", "halted by x", "false (resumed by x)", "false (x)", "FALSE\n"]
)
def test_a_halt_is_what_the_fleet_takes_for_one(value: str) -> None:
    class Ssm:
        def get_parameter(self, Name: str) -> Any:
            return {"Parameter": {"Value": value}}

    now = datetime.now(UTC)
    assert bool(halt.reason_in("/halt", value, "a/b/c", now)) == bool(fleet_halt.halt_reason(Ssm(), "/halt", now=now))


@pytest.mark.parametrize(
    ("model", "halted"),
    [("momentum/AAPL/a", True), ("momentum/MSFT/a", False), ("", True)],
)
def test_a_halt_of_some_halts_the_hosts_of_these(places: Places, model: str, halted: bool) -> None:
    value = '{"orders": [{"do": "halt", "record": "by me: x", "symbols": ["AAPL"]}]}'
    replace(places.trader, json.dumps({"model": {"name": model}}))
    reasons, _trouble = halt.ask(places, "/halt", lambda name: value)
    assert bool(reasons["environment"]) is halted
    assert places.halt_flag.exists() is halted
    # At the first boot the model is known before the trader is configured.
    assert bool(halt.ask(places, "/halt", lambda name: value, "momentum/AAPL/a")[0]["environment"])


def test_a_hold_is_no_halt_and_a_halt_ends_when_it_says(places: Places) -> None:
    hold = '{"orders": [{"do": "hold", "record": "x", "until": "2099-01-01T00:00:00+00:00"}]}'
    past = '{"orders": [{"do": "halt", "record": "x", "until": "2020-01-01T00:00:00+00:00"}]}'
    answers = {"hold": hold, "past": past}
    for name in answers:
        assert not halt.ask(places, name, answers.__getitem__)[0]["environment"]


def test_an_unknown_halt_halts_and_a_known_one_stays_without_an_answer(places: Places) -> None:
    def away(name: str) -> str:
        raise NotYet("Cannot read the parameter: ConnectTimeoutError")

    reasons, trouble = halt.ask(places, "/halt", away)
    assert (reasons["environment"], bool(trouble), places.halt_flag.exists()) == (halt.UNKNOWN, True, True)
    halt.ask(places, "/halt", lambda name: "false")
    assert not places.halt_flag.exists()
    halt.ask(places, "/halt", away)
    assert not places.halt_flag.exists()
    halt.ask(places, "/halt", lambda name: "halted by me")
    assert halt.ask(places, "/halt", away)[0]["environment"] == "/halt is 'halted by me'"
    halt.ask(places, "/halt", lambda name: "false")
    # After a reboot nothing is known of the environment; what the operator said of the host stays.
    halt.obey(places, operator="looking")
    (places.own_run / "booted").unlink()
    assert halt.known(places) == {"environment": halt.UNKNOWN, "operator": "looking"}


def test_a_missing_flag_is_a_halt_and_a_link_in_its_place_is_not_followed(places: Places, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise error_of("read the parameter", name, _aws_error("ParameterNotFound"))

    assert halt.ask(places, "/halt", missing)[0]["environment"] == "/halt does not exist"
    victim = tmp_path / "victim"
    victim.write_text("kept")
    places.halt_flag.unlink()
    places.halt_flag.symlink_to(victim)
    halt.obey(places)
    assert (victim.read_text(), places.halt_flag.is_symlink()) == ("kept", False)


def test_a_final_answer_of_aws_is_told_from_none() -> None:
    assert isinstance(error_of("read", "x", _aws_error("AccessDenied")), Refused)
    assert isinstance(error_of("read", "x", _aws_error("ThrottlingException")), NotYet)
    assert isinstance(error_of("read", "x", OSError("no route")), NotYet)


def _aws_error(code: str) -> Exception:
    error = Exception(code)
    error.response = {"Error": {"Code": code}}  # type: ignore[attr-defined]
    return error


class Imds:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def tags(self) -> dict[str, str]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def get(self, path: str) -> str:
        return "i-1"


CLAIMED = {"Model": MODEL, "ModelUri": "s3://x/", "ModelVersion": "ab", "Symbol": "AAPL", "Environment": "qa"}


def test_a_claim_is_waited_for_until_its_limit() -> None:
    time = iter(range(1000))
    slow: Any = Imds(TimeoutError("timed out"), {}, {**CLAIMED, "ModelVersion": ""}, CLAIMED)
    claim = wait_for_claim(slow, settings(), 60, monotonic=lambda: next(time), sleep=lambda seconds: None)
    assert (claim.model, claim.instance_id) == (MODEL, "i-1")
    for never, reason in (({}, "no tag Model"), (TimeoutError("timed out"), "does not answer")):
        with pytest.raises(NotYet, match=reason):
            wait_for_claim(Imds(never), settings(), 5, monotonic=lambda: next(time), sleep=lambda seconds: None)


def test_tags_of_another_environment_are_refused_at_once() -> None:
    with pytest.raises(Refused, match="Environment is 'prod', not 'qa'"):
        check_tags({**CLAIMED, "Environment": "prod"}, settings())


def test_wrong_settings_are_all_named_and_only_prod_trades_money() -> None:
    with pytest.raises(Refused) as refused:
        settings(drain_seconds=True, loop_seconds=0, limits={"max_order": -1}, broker={"url": "ftp://x"})
    for name in (
        "drain_seconds",
        "loop_seconds",
        "limits.max_position",
        "limits.max_order",
        "broker.url",
        "broker.paper",
    ):
        assert f"configuration.{name}" in str(refused.value)
    with pytest.raises(Refused, match="only prod may trade money"):
        settings(broker={"url": "https://x", "paper": False})


def test_the_traders_configuration_keeps_the_contract(places: Places) -> None:
    claim = Bucket({"model.json": b"{}"}).claim
    made = configuration.trader_configuration(settings(), claim, Path("/m"), places)
    readme = Path(__file__).parents[4] / "examples" / "algo-modeling-v2" / "README.md"
    if readme.exists():  # it is not part of the artifact
        section = readme.read_text().partition("## Trading code")[2].partition("**Start.**")[0]
        table = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert list(made) == table
    limits = configuration.unit_limits(settings())
    assert f"TimeoutStopSec={120 + STOP_MARGIN}\n" in limits


def test_a_marker_tells_a_trader_that_crashed_from_one_that_was_drained(places: Places) -> None:
    drain.starting(places, "first")
    assert not drain.stopped(places, {"SERVICE_RESULT": "signal", "EXIT_STATUS": "KILL", "INVOCATION_ID": "first"})
    # Refused at the next start: what the crashed one left behind is still unknown.
    drain.starting(places, "second")
    assert not drain.stopped(places, {"SERVICE_RESULT": "exit-code", "EXIT_STATUS": "78", "INVOCATION_ID": "second"})
    with pytest.raises(HostError, match="without a confirmed drain"):
        drain._confirmed_before(places, units.Unit(load="loaded", active="failed", result="exit-code", status=78))
    replace(places.health, '{"state": "drained", "positions": 2}')
    assert not drain.stopped(places, {"SERVICE_RESULT": "timeout"})
    assert drain.stopped(places, {"SERVICE_RESULT": "success"})
    assert drain._confirmed_before(places, units.Unit(load="loaded")) == "drained, 2 positions held"
    assert "no trader is installed" in drain._confirmed_before(places, units.Unit())


def test_a_trader_that_says_it_is_drained_must_have_left_nothing_that_it_should_not(places: Places) -> None:
    ended = units.Unit(load="loaded")
    for health, flatten, what in (
        ('{"state": "drained", "positions": 2, "open_orders": 0}', "true", "2 positions, although flatten_on_drain"),
        ('{"state": "drained", "positions": 2, "open_orders": 3}', "false", "3 open orders"),
    ):
        drain.starting(places, "first")
        replace(places.health, health)
        replace(places.trader, f'{{"flatten_on_drain": {flatten}}}')
        assert not drain.stopped(places, {"SERVICE_RESULT": "success"})
        with pytest.raises(HostError, match=what):
            drain._confirmed_before(places, ended)
    replace(places.health, '{"state": "drained", "positions": 2, "open_orders": 0}')
    assert drain.stopped(places, {"SERVICE_RESULT": "success"})
    assert drain._confirmed_before(places, ended) == "drained, 2 positions held"


def test_a_file_is_replaced_as_a_whole_and_only_if_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert replace(path, "1", mode=0o600)
    assert not replace(path, "1", mode=0o600)
    assert replace(path, "1", mode=0o644)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [
        ("KernelTimestamp=Thu 2026-01-01 09:00:00 UTC\nUserspaceTimestampMonotonic=4000000\n", 20.0),
        ("KernelTimestamp=\nUserspaceTimestampMonotonic=4000000\n", 16.0),  # a container
        ("KernelTimestamp=n/a\nUserspaceTimestampMonotonic=4000000\n", 16.0),
        ("", None),
    ],
)
def test_the_time_since_power_on_is_the_kernels_or_else_that_of_systemd(
    shown: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_run", lambda *_, **__: subprocess.CompletedProcess([], 0, shown, ""))
    assert units.since_power_on(lambda: 20.0) == seconds


def test_the_status_names_the_phases_of_the_boot_from_power_on(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "show", lambda _: units.Unit())
    report: dict[str, Any] = {
        "result": "ok",
        "reason": "",
        "time": "2026-01-01T09:00:00Z",
        "seconds": 3.25,
        "powered_on": 5.0,
    }
    report["phases"] = [{"name": "claim", "seconds": 0.25}, {"name": "start", "seconds": 3.0}]
    replace(places.boot_report, as_json(report))
    said = status.as_text(status.status(places))
    assert "boot:      ok, 2026-01-01T09:00:00Z, 8.2 s after power-on (system 5.0, claim 0.2, start 3.0)" in said
    replace(places.boot_report, as_json({**report, "powered_on": None}))
    assert "3.2 s (claim 0.2, start 3.0)" in status.as_text(status.status(places))


def unit_is(monkeypatch: pytest.MonkeyPatch, **state: Any) -> None:
    """What systemd says of the trader's unit."""
    monkeypatch.setattr(units, "show", lambda _: units.Unit(load="loaded", **state))


def a_trader_was_killed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that had started and was not drained."""
    unit_is(monkeypatch, active="failed", result="signal", status=9)
    drain.starting(places, "first")


def test_the_status_gives_the_reason_of_a_loop_that_is_late(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    unit_is(monkeypatch, active="active", result="success")
    replace(places.trader, as_json({"loop_seconds": 60}))
    replace(places.health, as_json({"state": "halted", "reason": "halted", "last_loop": "2026-01-01T09:00:00Z"}))
    monkeypatch.setattr(status, "_age", lambda _: 80.0)
    found = status.status(places)
    assert not found["healthy"]
    assert found["reason"] == "the last loop ended 80 s ago, at most 60 s are allowed; halted"
    monkeypatch.setattr(status, "_age", lambda _: 20.0)
    found = status.status(places)
    assert (found["healthy"], found["reason"]) == (True, "halted")


def test_a_drain_that_failed_stands_in_the_status_until_one_is_confirmed(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_trader_was_killed(places, monkeypatch)
    with pytest.raises(HostError, match="without a confirmed drain"):
        drain.drain(places)
    assert "without a confirmed drain" in status.status(places)["failed_drain"]["reason"]
    assert "drain:     FAILED 20" in status.as_text(status.status(places))
    drain.starting(places, "second")
    replace(places.health, '{"state": "drained"}')
    assert drain.stopped(places, {"SERVICE_RESULT": "success"})
    assert status.status(places)["failed_drain"] == {}
    assert "drain:" not in status.as_text(status.status(places))


def test_a_drain_that_cannot_be_noted_fails_with_its_own_reason(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_trader_was_killed(places, monkeypatch)

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(drain, "replace", full)
    with pytest.raises(HostError, match="without a confirmed drain"):
        drain.drain(places)


def test_only_root_sees_the_trader(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["status"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "algo-host: only root can do this. Use sudo.\n")
