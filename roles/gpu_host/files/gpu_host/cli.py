# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of `algo-gpu`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import checkpoints, gpu, idle, job, launch, spot, status, verify
from .errors import NO_GPU, HostError
from .imds import ADDRESS, Imds
from .places import Places
from .settings import read_settings

# The data, its text, and the exit status.
Answer = tuple[dict[str, Any], str, int]
_FOR_ROOT = ("run", "spot", "idle", "persist")


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    given = _parser().parse_args(arguments)
    if places is None and os.geteuid() and given.command in _FOR_ROOT:
        print("algo-gpu: only root can do this. Use sudo.", file=sys.stderr)
        return 1
    act: Callable[[Places, argparse.Namespace], Answer] = given.act
    try:
        data, text, code = act(places or Places(), given)
    except HostError as error:
        data, text, code = {"healthy": False, "reason": str(error)}, f"algo-gpu: {error}", error.exit_status
    if data or text:
        print(json.dumps(data) if given.json else text, flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algo-gpu", description="Runs training jobs on this host.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON instead of text")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[Places, argparse.Namespace], Answer], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[shared], help=about, description=about)
        added.set_defaults(act=act)
        return added

    one = command("run", _run, "Run a training job in a unit of its own, and wait for it. Ends with the job's status.")
    _about_job(one)
    one.add_argument("--user", default="", help="who runs it; otherwise who called sudo, or the role's setting")
    one.add_argument("--no-store", action="store_true", help="do not store checkpoints")
    one.add_argument("--no-wait", action="store_true", help="return once it is started")
    one.add_argument("--environment-file", default="", metavar="FILE", help="variables of the job, NAME=VALUE each")
    one = command("supervise", _supervise, "For the job's unit: run the job and store its checkpoints.")
    _about_job(one)
    one.add_argument("--sync-seconds", type=float, default=10.0)
    command("status", _status, "Show the host. Ends with 0 only if it is healthy.")
    one = command("verify", _verify, f"Compute on each GPU. Ends with {NO_GPU} if only a GPU is missing.")
    one.add_argument("--without-torch", action="store_true", help="look at the driver only")
    command("idle", _idle, "For the timer: power the host off if nothing has used it for the set time.")
    one = command("spot", _spot, "For its unit: watch for the notice that AWS takes this instance back.")
    one.add_argument("--seconds", type=float, default=5.0)
    one.add_argument("--metadata-url", default=ADDRESS, help=argparse.SUPPRESS)
    command("persist", _persist, "For its unit: keep the driver loaded while no program uses a GPU.")
    return parser


def _about_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="of the job, and of its folder in the bucket; otherwise the time")
    parser.add_argument("--checkpoints", default="", metavar="FOLDER", help="what is stored; otherwise ./checkpoints")
    parser.add_argument("--to", default="", metavar="S3_URI", help="where; otherwise gpu_host_checkpoints/NAME")
    parser.add_argument("--signal", default="", choices=["USR1", "USR2"], help="a signal to the job at a spot notice")
    parser.add_argument("job", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def _run(places: Places, given: argparse.Namespace) -> Answer:
    order = launch.Order(
        command=launch.check_command(given.job),
        name=given.name,
        checkpoints=given.checkpoints,
        to=given.to,
        store=not given.no_store,
        user=given.user,
        environment_file=given.environment_file,
        tell=given.signal,
        wait=not given.no_wait,
    )
    settings = read_settings(places)
    _say("The output is in the journal: journalctl -fu algo-gpu-job. To end the job: systemctl stop algo-gpu-job.")
    code = launch.launch(places, settings, order, os.environ)
    return {}, "", code


def _supervise(places: Places, given: argparse.Namespace) -> Answer:
    settings = read_settings(places)
    wanted = job.Job(
        name=given.name,
        command=launch.check_command(given.job),
        checkpoints=Path(given.checkpoints or "checkpoints").absolute(),
        to=given.to,
        tell=signal.Signals[f"SIG{given.signal}"] if given.signal else None,
        stop_seconds=settings.stop_seconds,
        sync_seconds=given.sync_seconds,
    )
    mirror = None
    if wanted.to:
        bucket = checkpoints.Bucket(wanted.to, settings.region)
        mirror = checkpoints.Mirror(wanted.checkpoints, bucket.store, _say, wanted.sync_seconds)
    code = job.Supervisor(places, wanted, mirror, _say).run(job.environment_of(places, wanted, os.environ))
    return {}, "", code


def _status(places: Places, given: argparse.Namespace) -> Answer:
    found = status.status(places, read_settings(places))
    return found, status.as_text(found), 0 if found["healthy"] else 1


def _verify(places: Places, given: argparse.Namespace) -> Answer:
    found, code = verify.verify(places, torch=not given.without_torch)
    return found, verify.as_text(found), code


def _idle(places: Places, given: argparse.Namespace) -> Answer:
    found = idle.look(places, read_settings(places), idle.power_off)
    return found, idle.as_text(found), 0


def _spot(places: Places, given: argparse.Namespace) -> Answer:
    spot.watch(places, Imds(given.metadata_url), _say, given.seconds)
    return {}, "", 0


def _persist(places: Places, given: argparse.Namespace) -> Answer:
    if not gpu.hardware(places):
        return {}, "the host has no GPU", 0
    gpu.smi("--persistence-mode=1")
    return {}, "persistence mode is on", 0


def _say(text: str) -> None:
    print(text, flush=True)
