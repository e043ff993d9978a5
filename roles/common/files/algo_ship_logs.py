# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ships the host's journal to its component's log group in CloudWatch.

It follows the journal from the last entry that CloudWatch has taken, so nothing is lost while AWS is away: what is
not taken yet stays in the journal, within the journal's own limits. After a crash a batch may be there twice.

    algo-ship-logs            ships, for ever
    algo-ship-logs --known    ends with 0 if it is known where to
"""

from __future__ import annotations

import fnmatch
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Quotas of PutLogEvents: bytes of a batch with 26 for each event, events, and milliseconds from the first to the last.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
BATCH_BYTES, BATCH_EVENTS, BATCH_SPAN, EVENT_OVERHEAD = 1_048_576, 10_000, 24 * 3600 * 1000, 26
# Of one event; a longer one is cut.
EVENT_BYTES = 256 * 1024 - EVENT_OVERHEAD

_WAITING = 2_000  # entries that are read ahead: what CloudWatch does not take yet stays in the journal
_BATCH_SECONDS, _RETRY_SECONDS = 5.0, 60.0
_WARNING, _INFO, _DEBUG = 4, 6, 7
_FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER"

Entry = Mapping[str, Any]
Event = dict[str, Any]


class NotKnown(Exception):
    """It is not known where to."""


class Stopped(Exception):
    """The service is to end while CloudWatch takes nothing."""


@dataclass(frozen=True)
class Settings:
    """
    :param units: patterns of the units of which everything but debug messages is shipped
    :param priority: the least important message that is shipped of all others, as syslog's number
    """

    region: str
    log_group: str
    units: tuple[str, ...] = ()
    priority: int = _WARNING


def read_settings(own: Path, fleet: Path) -> Settings:
    """What the role wrote. An image of a trading server does not know its environment: there, cloud-init's file does.

    :raises NotKnown: with what to do
    """
    given = _read(own)
    told = _read(fleet).get("configuration")
    place = given if given.get("log_group") else told if isinstance(told, dict) else {}
    if not (place.get("log_group") and place.get("region")):
        raise NotKnown(
            f"Neither {own} nor {fleet} says a log group and a region. Configure the host with the role common."
        )
    units, priority = tuple(given.get("units", ())), int(given.get("priority", _WARNING))
    return Settings(str(place["region"]), str(place["log_group"]), units, priority)


def _read(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return given if isinstance(given, dict) else {}


# ---- an entry of the journal ----


def wanted(entry: Entry, settings: Settings) -> bool:
    priority = _priority(entry)
    if priority <= settings.priority:
        return True
    return priority < _DEBUG and any(fnmatch.fnmatchcase(_unit(entry), pattern) for pattern in settings.units)


def event(entry: Entry) -> Event:
    """As CloudWatch takes it. A message that is a JSON object keeps its fields, so that they can be searched for."""
    message = entry.get("MESSAGE")
    # journalctl gives text that is not UTF-8 as a list of bytes.
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message or "")
    try:
        told = json.loads(text) if text.startswith("{") else None
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {"message": text}
    written = json.dumps({"unit": _unit(entry), "priority": _priority(entry), **told}, ensure_ascii=False)
    return {"timestamp": int(entry["__REALTIME_TIMESTAMP"]) // 1000, "message": cut(written)}


def cut(text: str, limit: int = EVENT_BYTES) -> str:
    """At most so many bytes, and no broken character."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    mark = f"… [cut, {len(data)} bytes]"
    return data[: limit - len(mark.encode())].decode(errors="ignore") + mark


def _unit(entry: Entry) -> str:
    return str(entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER") or "")


def _priority(entry: Entry) -> int:
    try:
        return int(entry["PRIORITY"])
    except (KeyError, TypeError, ValueError):
        return _INFO


@dataclass
class Batch:
    """Events of one call, and the cursor of the last entry that was looked at, wanted or not."""

    events: list[Event] = field(default_factory=list)
    cursor: str = ""
    size: int = 0

    def takes(self, new: Event) -> bool:
        times = [each["timestamp"] for each in (*self.events[:1], *self.events[-1:], new)]
        return not self.events or (
            len(self.events) < BATCH_EVENTS
            and self.size + _size(new) <= BATCH_BYTES
            and max(times) - min(times) < BATCH_SPAN
        )

    def add(self, new: Event) -> None:
        self.events.append(new)
        self.size += _size(new)
        # CloudWatch wants them in order, and the host's clock may have been set back.
        if new["timestamp"] < self.events[max(len(self.events) - 2, 0)]["timestamp"]:
            self.events.sort(key=lambda each: int(each["timestamp"]))


def _size(new: Event) -> int:
    return len(new["message"].encode()) + EVENT_OVERHEAD


# ---- CloudWatch ----


class Stream:
    """The host's stream in the log group.

    :param client: of CloudWatch Logs
    """

    def __init__(self, client: Any, group: str, name: str, say: Callable[[str], None]) -> None:
        self._client, self._say = client, say
        self._place = {"logGroupName": group, "logStreamName": name}

    def put(self, events: Sequence[Event]) -> None:
        """
        :raises Exception: boto3's, if AWS does not take them now
        """
        code = self._unless(self._put, "ResourceNotFoundException", "InvalidParameterException", events=events)
        if code == "ResourceNotFoundException":  # the stream's first event
            self._unless(self._client.create_log_stream, "ResourceAlreadyExistsException", **self._place)
            self._put(events)
        elif code and len(events) > 1:  # one event that AWS never takes must not hold up the others
            middle = len(events) // 2
            self.put(events[:middle])
            self.put(events[middle:])
        elif code:
            self._say(f"CloudWatch refuses one event, of {len(events[0]['message'])} characters: it is left out")

    def _put(self, events: Sequence[Event]) -> None:
        answer = self._client.put_log_events(**self._place, logEvents=list(events))
        refused = answer.get("rejectedLogEventsInfo")
        if refused:
            self._say(f"CloudWatch did not take events that are too old or too new: {json.dumps(refused)}")

    @staticmethod
    def _unless(call: Callable[..., Any], *codes: str, **arguments: Any) -> str:
        """Make a call; returns which of these errors it ended with."""
        from botocore.exceptions import ClientError

        try:
            call(**arguments)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in codes:
                return code
            raise
        return ""


class Shipper:
    """
    :param entries: the journal's; None is the last one
    :param put: takes the events of a batch or fails
    :param keep: remembers the cursor up to which everything is shipped
    :param stopped: whether the service is to end
    """

    def __init__(
        self,
        settings: Settings,
        entries: queue.Queue[Entry | None],
        put: Callable[[Sequence[Event]], None],
        keep: Callable[[str], None],
        say: Callable[[str], None],
        stopped: threading.Event,
    ) -> None:
        self._settings, self._entries = settings, entries
        self._put, self._keep, self._say, self._stopped = put, keep, say, stopped
        self._said = ""

    def run(self) -> None:
        """Until the entries end.

        :raises Stopped: if something is left that CloudWatch does not take; the next start ships it
        """
        batch, until = Batch(), 0.0
        while True:
            if batch.cursor and time.monotonic() > until:
                self._ship(batch)
                batch = Batch()
            until = until if batch.cursor else time.monotonic() + _BATCH_SECONDS
            try:
                entry = self._entries.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                continue
            if entry is None:
                self._ship(batch)
                return
            if wanted(entry, self._settings):
                new = event(entry)
                if not batch.takes(new):
                    self._ship(batch)
                    batch = Batch()
                batch.add(new)
            batch.cursor = str(entry["__CURSOR"])

    def _ship(self, batch: Batch) -> None:
        pause = 1.0
        while batch.events:
            try:
                self._put(batch.events)
                break
            except Exception as error:  # whatever it is, the journal keeps the entries
                self._tell(f"CloudWatch does not take the log, still trying: {error}")
            if self._stopped.wait(pause):
                raise Stopped
            pause = min(2 * pause, _RETRY_SECONDS)
        if batch.events and self._said:
            self._tell("")
            self._say("CloudWatch takes the log again")
        if batch.cursor:
            self._keep(batch.cursor)

    def _tell(self, text: str) -> None:
        """Once: what it says is shipped as well."""
        if text and text != self._said:
            self._say(text)
        self._said = text


# ---- the host ----


def journal_command(cursor: str) -> list[str]:
    """From the last entry that was shipped; the first time from this boot."""
    since = f"--after-cursor={cursor}" if cursor else "--boot"
    return ["journalctl", "--follow", "--no-tail", "--all", "--output=json", f"--output-fields={_FIELDS}", since]


def entries_of(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the end of a journalctl that was told to end
            continue
        if isinstance(entry, dict) and "__CURSOR" in entry and "__REALTIME_TIMESTAMP" in entry:
            yield entry


def instance_id() -> str:
    """From IMDSv2."""
    place, wait = "http://169.254.169.254/latest/", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(f"{place}api/token", method="PUT", headers=wait), timeout=5) as answer:
        token = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with opener.open(urllib.request.Request(f"{place}meta-data/instance-id", headers=token), timeout=5) as answer:
        return str(answer.read().decode())


def ship(settings: Settings, cursor: Path) -> int:
    import boto3
    from botocore.config import Config

    session: Any = boto3.Session(region_name=settings.region)
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
    client = session.client("logs", endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None, config=config)
    stream = Stream(client, settings.log_group, f"{instance_id()}/journal", say)
    entries: queue.Queue[Entry | None] = queue.Queue(_WAITING)
    stopped = threading.Event()
    since = cursor.read_text(encoding="utf-8").strip() if cursor.exists() else ""
    journal = subprocess.Popen(journal_command(since), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def stop(_number: int, _frame: object) -> None:
        stopped.set()
        journal.terminate()

    def read() -> None:
        for entry in entries_of(journal.stdout or ()):
            entries.put(entry)
        entries.put(None)

    def keep(reached: str) -> None:
        new = cursor.with_suffix(".new")
        new.write_text(reached, encoding="utf-8")
        new.replace(cursor)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.Thread(target=read, daemon=True).start()
    try:
        Shipper(settings, entries, stream.put, keep, say, stopped).run()
    except Stopped:
        say("ends with a part of the log not shipped: the next start ships it")
    # A journalctl that ended by itself is an error, and systemd starts both again.
    return 0 if stopped.is_set() else 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    try:
        settings = read_settings(Path("/etc/algo-logs/settings.json"), Path("/etc/algo-trading/fleet.json"))
    except NotKnown as reason:
        say(str(reason))
        return 1
    if "--known" in arguments:
        return 0
    return ship(settings, Path(os.environ.get("STATE_DIRECTORY", "/var/lib/algo-logs")) / "cursor")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
