# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of `algo-mlflow`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .settings import SETTINGS, HostError, Secret, Settings, server_environment


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="algo-mlflow", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in {
        "status": "how the server is; ends with 0 only if it is healthy",
        "smoke": "log a run, and read its artifact back",
        "schema": "compare the database's schema with what this version of MLflow needs",
        "fetch": "fetch the secret again; a restart applies it",
        "upgrade": "upgrade the schema. Take a snapshot first: the role does, mlflow_server_upgrade_database=true",
        "dump": "write the database to a file with pg_dump",
        "prepare": "what the unit does before it starts MLflow",
        "serve": "what the unit runs",
    }.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--settings", type=Path, default=SETTINGS, help=argparse.SUPPRESS)
        if name == "dump":
            command.add_argument("--to", type=Path, required=True, help="the file, for pg_restore")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.read(given.settings)
        if given.command == "serve":
            from .serve import serve

            return serve(settings)
        if given.command == "dump":
            from .dump import dump

            found = dump(settings, Secret.read(os.environ), given.to)
        else:
            found = _COMMANDS[given.command](settings)
    except HostError as error:
        if given.json:
            print(json.dumps({"healthy": False, "reason": str(error)}))
        else:
            print(f"algo-mlflow: {error}", file=sys.stderr)
        return error.status
    print(json.dumps(found) if given.json else "\n".join(f"{name:<12} {value}" for name, value in found.items()))
    return 0 if found.get("healthy", True) else 1


def _status(settings: Settings) -> dict[str, Any]:
    from .status import status

    return status(settings, Secret.read(os.environ))


def _smoke(settings: Settings) -> dict[str, Any]:
    from .smoke import smoke

    return smoke(settings, Secret.read(os.environ))


def _fetch(settings: Settings) -> dict[str, Any]:
    from .secret import fetch

    return {"changed": fetch(settings)}


def _with_mlflow(act: str) -> Callable[[Settings], dict[str, Any]]:
    """A command that loads MLflow's server, whose settings come from the environment."""

    def run(settings: Settings) -> dict[str, Any]:
        secret = Secret.read(os.environ)
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(server_environment(settings, secret, folder, {}))
            from . import database

            return dict(getattr(database, act)(settings, secret))

    return run


_COMMANDS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "status": _status,
    "smoke": _smoke,
    "fetch": _fetch,
    "schema": _with_mlflow("schema"),
    "upgrade": _with_mlflow("upgrade"),
    "prepare": _with_mlflow("prepare"),
}
