"""A trading day on the embedded AWS of this clone (make up, make demo).

play     play a usual day, a half day and a holiday on its moved clock, check what happens, draw who ran when
page     serve the page that shows the day, until Ctrl-C; changes nothing
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run by the folder's path: its parent is where the package is found
    sys.path[0] = str(ROOT / "tools")
sys.path.append(str(ROOT / "collections"))

from market_day import picture, report
from market_day.cloud import Cloud, CloudError
from market_day.page import Page
from market_day.record import Step
from market_day.story import Pace, Story, choose
from market_day.watch import Watch

LOCAL = ROOT / ".local"
NO_ENVIRONMENT = 3
_QUEUE = "market-day-reader"
_COLOURS = {"check": "32", "failed": "31;1", "alert": "31", "title": "1", "command": "36", "fault": "33"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="market_day", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("play", "page"):
        command = commands.add_parser(name)
        command.add_argument("--endpoint", help="of the embedded AWS; default: this clone's")
        command.add_argument("--environment", default="local")
        command.add_argument("--port", type=int, default=0, help="of the page, on 127.0.0.1; default: any free one")
    play = commands.choices["play"]
    play.add_argument("--after", type=date.fromisoformat, help="the first day comes after this one; default: today")
    play.add_argument("--output", type=Path, default=LOCAL / "day", help="folder for day.svg and day.json")
    play.add_argument("--quick", action="store_true", help="no pauses for a person to follow")
    play.add_argument("--json", action="store_true", help="print the report as JSON; the steps go to standard error")
    play.add_argument("--stay", action="store_true", help="go on serving the page at the end, until Ctrl-C")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the environment is left as it was, as after Ctrl-C
    try:
        cloud = Cloud(args.endpoint or _own_endpoint(), args.environment)
        cloud.control("clock")
        calendar = cloud.calendar()
    except OSError as error:
        return _fail(f"the embedded AWS does not answer: {error}. Start it with the environment: make demo")
    except CloudError as error:
        return _fail(str(error))
    except Exception as error:
        if "ResourceNotFound" in str(error):
            _fail(f"there are no functions of the environment {args.environment} yet: make demo")
            return NO_ENVIRONMENT
        raise
    with _alerts(cloud) as queue:
        try:
            return (
                _page(args, cloud, calendar, queue) if args.command == "page" else _play(args, cloud, calendar, queue)
            )
        except KeyboardInterrupt:
            return 130


def _own_endpoint() -> str:
    try:
        return (LOCAL / "aws" / "endpoint").read_text().strip()
    except OSError:
        raise CloudError("there is no embedded AWS in this clone: make demo") from None


def _fail(why: str) -> int:
    print(f"market day: {why}", file=sys.stderr)
    return 2


def _page(args: argparse.Namespace, cloud: Cloud, calendar: Any, queue: str) -> int:
    watch = Watch(cloud, calendar)
    watch.start(queue)
    with Page(watch, args.port) as page:
        print(f"The day of {args.environment}: {page.url} (Ctrl-C ends it)", flush=True)
        try:
            _forever()
        finally:
            watch.stop()
    return 0


def _play(args: argparse.Namespace, cloud: Cloud, calendar: Any, queue: str) -> int:
    out = sys.stderr if args.json else sys.stdout
    began = time.monotonic()
    after = args.after or calendar.today(datetime.now(UTC))
    days = choose(calendar, after)
    watch = Watch(cloud, calendar, set(days.values()))
    story = Story(cloud, watch, Pace.of(cloud.hosts, args.quick), lambda zone, step: _say(out, zone, step))
    watch.start(queue)
    with Page(watch, args.port) as page:
        print(f"The page of the day: {page.url}", file=out, flush=True)
        if not cloud.hosts:
            print(
                "Without hosts: instances are records, nothing boots or trades. With hosts: docs/embedded-aws.md",
                file=out,
            )
        try:
            story.night(min(days.values()))
            if story.checks[0].ok:
                for kind, on in days.items():
                    story.play(kind, on)
            seconds = time.monotonic() - began
            with watch.lock:
                shown = [watch.days[on] for on in days.values() if on in watch.days]
                files = _write(
                    args.output,
                    picture.draw(shown, _title(cloud)),
                    report.as_dict(shown, story.checks, seconds, cloud.hosts),
                )
                text = report.as_text(shown, story.checks, seconds)
            print(text, file=out)
            print(f"\nPicture: {files[0]}\nReport:  {files[1]}", file=out, flush=True)
            if args.json:
                print(files[1].read_text())
            if args.stay:
                print(f"The page stays at {page.url} until Ctrl-C.", file=out, flush=True)
                _forever()
        finally:
            story.close()
            story.morning_after()
            watch.stop()
    return 0 if all(check.ok for check in story.checks) else 1


def _title(cloud: Cloud) -> str:
    return f"{cloud.scope.project} {cloud.scope.environment}: who ran when, on the exchange's time"


def _write(folder: Path, drawn: str, told: dict[str, Any]) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "day.svg", folder / "day.json"
    files[0].write_text(drawn)
    files[1].write_text(json.dumps(told, indent=1, default=vars) + "\n")
    return files


def _say(out: Any, zone: str, step: Step) -> None:
    text = step.text
    if step.kind == "alert":
        text = "an alert, as the person gets it:\n" + "\n".join(f"         │ {line}" for line in text.splitlines())
    text = {"check": "✓ ", "failed": "✗ "}.get(step.kind, "") + text
    colour = _COLOURS.get(step.kind)
    if colour and out.isatty() and "NO_COLOR" not in os.environ:
        text = f"\033[{colour}m{text}\033[0m"
    at = report.clock(step.at, zone) if zone and step.at else "     "
    print(f"{'' if step.kind != 'title' else chr(10)}{at}  {text}", file=out, flush=True)


@contextmanager
def _alerts(cloud: Cloud) -> Iterator[str]:
    """A queue that gets what people get by mail, for as long as it is needed."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    name = f"{_QUEUE}-{os.getpid()}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscribed = [
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)["SubscriptionArn"]
        for topic in cloud.topics()
    ]
    try:
        yield url
    finally:
        for subscription in subscribed:
            sns.unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=url)


def _forever() -> None:
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
