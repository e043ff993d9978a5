"""What is shipped to CloudWatch, in which batches, and what happens while AWS does not take it."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import algo_ship_logs as program
import pytest
from algo_ship_logs import Batch, Settings, Shipper, Stopped, Stream, cut, entries_of, event, wanted
from botocore.exceptions import ClientError

SETTINGS = Settings("us-east-1", "/algo-trading/qa/trading_server", ("algo-*",), 4)


def entry(
    number: int = 0, message: Any = "said", priority: Any = "4", unit: str = "algo-trader.service"
) -> dict[str, Any]:
    return {
        "__CURSOR": f"c{number}",
        "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + number * 1000),
        "MESSAGE": message,
        "PRIORITY": priority,
        "_SYSTEMD_UNIT": unit,
    }


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "PutLogEvents")


@pytest.mark.parametrize(
    ("unit", "priority", "shipped"),
    [
        ("algo-trader.service", "6", True),
        ("algo-trader.service", "7", False),
        ("cron.service", "6", False),
        ("cron.service", "4", True),
        ("cron.service", "0", True),
        ("cron.service", None, False),
        ("algo-trader.service", "unknown", True),
    ],
)
def test_our_units_are_shipped_and_warnings_of_all_others(unit: str, priority: Any, shipped: bool) -> None:
    assert wanted(entry(unit=unit, priority=priority), SETTINGS) is shipped


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("plain", {"message": "plain"}),
        ('{"run": "r1", "message": "started"}', {"run": "r1", "message": "started"}),
        ("{not json", {"message": "{not json"}),
        ("[1]", {"message": "[1]"}),
        (None, {"message": ""}),
        ([104, 105, 255], {"message": "hi�"}),
    ],
)
def test_a_message_keeps_its_fields(message: Any, told: dict[str, Any]) -> None:
    made = event(entry(7, message))
    assert made["timestamp"] == 1_700_000_000_007
    assert json.loads(made["message"]) == {"unit": "algo-trader.service", "priority": 4, **told}


def test_a_message_that_is_too_long_is_cut_between_characters() -> None:
    assert cut("ä" * 10, 20) == "ä" * 10
    told = cut("ä" * 300, 101)
    assert len(told.encode()) <= 101
    assert told.startswith("ää")
    assert told.endswith("… [cut, 600 bytes]")
    assert len(event(entry(message="x" * 2**20))["message"].encode()) == program.EVENT_BYTES


def test_a_batch_is_within_what_cloudwatch_takes() -> None:
    batch = Batch()
    for number in range(program.BATCH_EVENTS):
        assert batch.takes(event(entry(number)))
        batch.add(event(entry(number)))
    assert not batch.takes(event(entry(1)))

    large = Batch()
    while large.takes(event(entry(message="x" * 200_000))):
        large.add(event(entry(message="x" * 200_000)))
    assert large.size <= program.BATCH_BYTES < large.size + 200_000 + 100

    day = Batch()
    day.add(event(entry(0)))
    assert not day.takes(event(entry(program.BATCH_SPAN)))
    assert day.takes(event(entry(program.BATCH_SPAN - 1)))


def test_a_batch_is_in_order_although_the_clock_was_set_back() -> None:
    batch = Batch()
    for number in (5, 9, 3, 4):
        batch.add(event(entry(number)))
    assert [each["timestamp"] % 1000 for each in batch.events] == [3, 4, 5, 9]


class CloudWatch:
    """Takes what is put, in a log group that exists, and refuses what it is told to."""

    def __init__(self, refuse: Iterable[ClientError] = (), never: str = "") -> None:
        self.refuse, self.never = list(refuse), never
        self.streams: dict[str, list[str]] = {}

    def create_log_stream(self, logGroupName: str, logStreamName: str) -> None:
        if logStreamName in self.streams:
            raise refusal("ResourceAlreadyExistsException")
        self.streams[logStreamName] = []

    def put_log_events(self, logGroupName: str, logStreamName: str, logEvents: list[dict[str, Any]]) -> dict[str, Any]:
        if self.refuse:
            raise self.refuse.pop(0)
        if logStreamName not in self.streams:
            raise refusal("ResourceNotFoundException")
        if self.never and any(self.never in each["message"] for each in logEvents):
            raise refusal("InvalidParameterException")
        self.streams[logStreamName] += [json.loads(each["message"])["message"] for each in logEvents]
        return {}


def shipped(
    client: Any, given: Sequence[dict[str, Any]], stopped: threading.Event | None = None
) -> tuple[list[str], list[str]]:
    """The cursors that were kept and what was said."""
    entries: queue.Queue[Any] = queue.Queue()
    for each in [*given, None]:
        entries.put(each)
    kept: list[str] = []
    said: list[str] = []
    stream = Stream(client, SETTINGS.log_group, "i-1/journal", said.append)
    try:
        Shipper(SETTINGS, entries, stream.put, kept.append, said.append, stopped or threading.Event()).run()
    except Stopped:
        said.append("stopped")
    return kept, said


def test_what_is_wanted_arrives_once_and_the_cursor_is_that_of_the_last_entry() -> None:
    aws = CloudWatch()
    given = [entry(0, "a"), entry(1, "debug", "7"), entry(2, "b"), entry(3, "other", "6", "cron.service")]
    kept, said = shipped(aws, given)
    assert aws.streams == {"i-1/journal": ["a", "b"]}
    assert kept[-1] == "c3"
    assert said == []


def test_nothing_is_kept_before_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    stopped.set()  # so it does not wait
    aws = CloudWatch(refuse=[refusal("ThrottlingException")] * 9)
    kept, said = shipped(aws, [entry(0, "a")], stopped)
    assert kept == []
    assert said[-1] == "stopped"
    assert "ThrottlingException" in said[0]
    # The next start begins there.
    assert shipped(CloudWatch(), [entry(0, "a")])[0] == ["c0"]


def test_what_aws_does_not_take_for_a_while_is_told_once_and_arrives() -> None:
    aws = CloudWatch(refuse=[refusal("ServiceUnavailableException")] * 2)
    stopped = threading.Event()
    stopped.wait = lambda timeout=None: False  # type: ignore[method-assign]  # the pauses are not waited for
    kept, said = shipped(aws, [entry(0, "a")], stopped)
    assert aws.streams == {"i-1/journal": ["a"]}
    assert kept == ["c0"]
    assert [text.partition(":")[0] for text in said] == [
        "CloudWatch does not take the log, still trying",
        "CloudWatch takes the log again",
    ]


def test_one_event_that_aws_never_takes_does_not_hold_up_the_others() -> None:
    aws = CloudWatch(never="poison")
    aws.streams["i-1/journal"] = []
    given = [entry(number, "poison" if number == 5 else str(number)) for number in range(9)]
    kept, said = shipped(aws, given)
    assert aws.streams["i-1/journal"] == [str(number) for number in range(9) if number != 5]
    assert kept[-1] == "c8"
    assert len(said) == 1
    assert "refuses one event" in said[0]


def test_broken_lines_of_the_journal_are_passed_over() -> None:
    lines = [json.dumps(entry(1)).encode(), b'{"__CURSOR": "c2"}', b"[]", b'{"MESS']
    assert [each["__CURSOR"] for each in entries_of(lines)] == ["c1"]


def test_it_goes_on_after_the_last_entry_that_was_shipped() -> None:
    assert program.journal_command("")[-1] == "--boot"
    assert program.journal_command("s=1;i=2")[-1] == "--after-cursor=s=1;i=2"


def test_a_host_that_does_not_know_its_log_group_says_what_to_do(tmp_path: Path) -> None:
    own, fleet = tmp_path / "settings.json", tmp_path / "fleet.json"
    with pytest.raises(program.NotKnown, match="Configure the host"):
        program.read_settings(own, fleet)
    own.write_text(json.dumps({"log_group": "", "region": "", "units": ["algo-*"], "priority": 3}))
    fleet.write_text(json.dumps({"configuration": {"log_group": "/a/qa/trading_server", "region": "us-east-1"}}))
    assert program.read_settings(own, fleet) == Settings("us-east-1", "/a/qa/trading_server", ("algo-*",), 3)
    own.write_text(json.dumps({"log_group": "/a/qa/mlflow_server", "region": "eu-west-1"}))
    assert program.read_settings(own, fleet) == Settings("eu-west-1", "/a/qa/mlflow_server")
    fleet.write_text("{broken")
    own.unlink()
    with pytest.raises(program.NotKnown):
        program.read_settings(own, fleet)


def test_the_program_asks_for_settings_before_it_loads_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-I", program.__file__, "--known"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "says a log group and a region" in done.stderr
