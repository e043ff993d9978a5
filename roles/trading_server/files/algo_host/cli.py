# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command `algo-host`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import aws, boot, drain, halt, status, units, versions
from .errors import HostError, Refused
from .imds import ADDRESS, Imds
from .places import Places, as_json
from .settings import read_settings

Answer = tuple[dict[str, Any], str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if os.geteuid():
        print("algo-host: only root can do this. Use sudo.", file=sys.stderr)
        return 1
    act: Callable[[Places, argparse.Namespace], Answer] = given.act
    try:
        data, text, code = act(Places(), given)
    except HostError as error:
        data, text, code = {"result": error.result, "reason": str(error)}, str(error), error.exit_status
    print(as_json(data) if given.json else text, flush=True, end="" if given.json else "\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algo-host", description="Runs the trader of this host.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON instead of text")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, act: Callable[[Places, argparse.Namespace], Answer], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[shared], help=about, description=about)
        added.set_defaults(act=act)
        return added

    for name, act, about in (
        ("boot", _boot, "Configure the host and start its trader; the result is kept in boot.json."),
        (
            "configure",
            _configure,
            "Fetch model, keys and settings, and write the trader's configuration; start nothing.",
        ),
    ):
        one = command(name, act, about)
        one.add_argument("--claim-seconds", type=float, default=600.0, help="how long to wait for the fleet's tags")
        one.add_argument("--metadata-url", default=ADDRESS, help=argparse.SUPPRESS)
    one = command("start", _start, "Start the trader of a configured host.")
    one.add_argument("--restart", action="store_true", help="drain and restart one that has an older configuration")
    command("status", _status, "Show the trader. Ends with 0 only if it is healthy.")
    command("drain", _drain, "Drain the trader and stop it. Ends with 0 only if that is confirmed.")
    one = command("halt", _halt, "No order opens or enlarges a position on this host.")
    one.add_argument("--reason", default="halted on the host")
    command("resume", _resume, "Take this host's own halt back; the environment's stays.")
    one = command("watch", _watch, "For algo-halt.service: obey the environment's halt.")
    one.add_argument("--seconds", type=float, default=20.0)
    one = command("use", _use, "For the role: make installed trading code the current one, remove what nobody needs.")
    one.add_argument("name", help="folder of /opt/algo-trading/trader")
    command("starting", _starting, "For algo-trader.service: before its start.")
    command("stopped", _stopped, "For algo-trader.service: after its end.")
    return parser


def _run(places: Places, given: argparse.Namespace) -> boot.Run:
    return boot.Run(
        places, Imds(given.metadata_url), lambda region: aws.Aws(region, aws.endpoint_url()), given.claim_seconds
    )


def _boot(places: Places, given: argparse.Namespace) -> Answer:
    run = _run(places, given)
    run.powered_on = units.since_power_on()
    report, code = boot.perform(run, run.configure, run.start)
    boot.publish(run, report)
    return report, _told(report), code


def _configure(places: Places, given: argparse.Namespace) -> Answer:
    run = _run(places, given)
    report, code = boot.perform(run, run.configure)
    return report, _told(report), code


def _start(places: Places, given: argparse.Namespace) -> Answer:
    run = boot.Run(places, Imds(), lambda region: aws.Aws(region, aws.endpoint_url()), 0)
    report, code = boot.perform(run, lambda: run.start(restart=given.restart))
    return report, report["reason"] or ("started" if report["changed"] else "runs"), code


def _told(report: dict[str, Any]) -> str:
    phases = ", ".join(f"{phase['name']} {phase['seconds']:.1f}" for phase in report["phases"])
    ended = report["reason"] or f"{report['model']} {report['version']}"
    halted = f"; halted: {report['halted']}" if report["halted"] else ""
    return f"{report['result']}: {ended}{halted} ({report['seconds']:.1f} s: {phases})"


def _status(places: Places, given: argparse.Namespace) -> Answer:
    found = status.status(places)
    # Whoever waits for the trader learns that it will not come by itself.
    refused = found["unit"] in ("inactive", "failed") and found["boot"].get("result") == Refused.result
    return found, status.as_text(found), 0 if found["healthy"] else Refused.exit_status if refused else 1


def _drain(places: Places, given: argparse.Namespace) -> Answer:
    with places.locked("drain"):
        confirmed = drain.drain(places)
    return {"result": "drained", "detail": confirmed}, confirmed, 0


def _halt(places: Places, given: argparse.Namespace) -> Answer:
    reasons = halt.obey(places, operator=given.reason.strip() or "halted on the host")
    return {"halt": reasons}, f"halted: {_all(reasons)}", 0


def _resume(places: Places, given: argparse.Namespace) -> Answer:
    reasons = halt.obey(places, operator="")
    still = _all(reasons)
    return {"halt": reasons}, f"still halted: {still}" if still else "resumed", 1 if still else 0


def _all(reasons: dict[str, str]) -> str:
    return "; ".join(f"{who}: {why}" for who, why in reasons.items() if why)


def _watch(places: Places, given: argparse.Namespace) -> Answer:
    settings = read_settings(places.fleet)
    services = aws.Aws(settings.region, aws.endpoint_url())
    halt.watch(places, settings.halt_parameter, services.parameter, lambda text: print(text, flush=True), given.seconds)
    return {}, "", 0


def _use(places: Places, given: argparse.Namespace) -> Answer:
    with places.locked("change"):
        used = versions.use(places, given.name)
    removed = f"; removed: {', '.join(used['removed'])}" if used["removed"] else ""
    return used, f"current: {used['current']}, before: {used['previous'] or 'none'}{removed}", 0


def _starting(places: Places, given: argparse.Namespace) -> Answer:
    drain.starting(places, drain.invocation())
    boot.note_start(places)
    return {}, "", 0


def _stopped(places: Places, given: argparse.Namespace) -> Answer:
    known = drain.stopped(places, os.environ)
    return {}, "" if known else "the trader ended without a confirmed drain", 0
