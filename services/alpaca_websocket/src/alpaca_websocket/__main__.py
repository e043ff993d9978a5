# SPDX-License-Identifier: GPL-3.0-or-later
"""alpaca-websocket: the market-data server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import __version__, consistency
from .downstream.auth import Tokens, TokensError, make
from .protocol import KINDS
from .settings import Credentials, Settings, SettingsError, certificates, credentials, load, observe_token


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a graceful stop, 2 for settings that cannot be, 75 after losing the lease."""
    args = _parser().parse_args(arguments)
    try:
        if args.command == "token":
            return _token(args.name)
        settings = load(args.settings)
        commands: dict[str, Callable[[Settings], int]] = {
            "run": _run,
            "check": _check,
            "report": _report,
            "athena": _athena,
        }
        return commands[args.command](settings)
    except (SettingsError, TokensError) as error:
        print(f"alpaca-websocket: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alpaca-websocket", description="The market-data server.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "serve until SIGTERM; SIGHUP reads keys and tokens anew"),
        ("check", "read the settings and what they name, and say what is wrong"),
        ("report", "what is stored, and what the server had to recover when it started"),
        (
            "athena",
            "SQL that makes the bucket's Parquet files tables of Athena, a database for each feed",
        ),
    ):
        commands.add_parser(name, help=text, description=text).add_argument("settings", type=Path)
    text = "make a client's key and secret, and the lines for the tokens file"
    commands.add_parser("token", help=text, description=text).add_argument("name")
    return parser


def _run(settings: Settings) -> int:
    _refuse_one_account(_readable(settings), settings)
    from .app import App  # what the other commands do not need takes a second to load
    from .observe import logs

    listener = logs.configure(settings.observe.log_level)
    # The journal's thread gives the interpreter back to the event loop after half a millisecond, not after five.
    sys.setswitchinterval(0.0005)
    logging.getLogger("picows").setLevel(logging.WARNING)  # it tells of every connection, as we do

    async def serve() -> int:
        return await App(settings).run()

    try:
        return _runner()(serve())
    finally:
        listener.stop()


def _runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop
    except ImportError:  # works without, and is slower
        return asyncio.run
    return uvloop.run


def _refuse_one_account(keys: Mapping[str, Credentials], settings: Settings) -> None:
    """Two feeds must not take one account's place from each other, by whatever files its keys come."""
    known = [upstream for upstream in settings.upstreams if upstream.name in keys]
    if problems := consistency.one_account(known, keys):
        raise SettingsError("; ".join(problems))


def _readable(settings: Settings) -> dict[str, Credentials]:
    """The keys of the upstreams whose keys can be read now; each feed looks for its own again."""
    if len(settings.upstreams) == 1:
        return {}
    found = {}
    for upstream in settings.upstreams:
        with contextlib.suppress(SettingsError):
            found[upstream.name] = credentials(upstream)
    return found


def _check(settings: Settings) -> int:
    _refuse_one_account({upstream.name: credentials(upstream) for upstream in settings.upstreams}, settings)
    Tokens(settings.downstream.tokens_file)
    observe_token(settings.observe)
    certificates(settings)
    from .upstream import calendar

    try:
        for name in {upstream.calendar for upstream in settings.upstreams}:
            asyncio.run(calendar.load(name))
    except calendar.CalendarError as error:
        raise SettingsError(str(error)) from error
    directory = Path(settings.store.directory)
    if not directory.is_absolute():
        raise SettingsError(f"store.directory is not absolute: {directory}")
    print("The settings are in order.")
    return 0


def _report(settings: Settings) -> int:
    import msgspec

    from .store.describe import describe

    failed = []
    for upstream in settings.upstreams:
        if len(settings.upstreams) > 1:
            print(f"{upstream.name}\n{'=' * len(upstream.name)}")
        try:
            print(describe(settings.store_of(upstream)))
        except (OSError, msgspec.MsgspecError) as error:
            failed.append(f"cannot report on {upstream.name}: {error}")
    if failed:
        raise SettingsError("; ".join(failed))
    return 0


def _athena(settings: Settings) -> int:
    from .store.describe import athena

    for upstream in settings.upstreams:
        database = "market_data" if len(settings.upstreams) == 1 else f"market_data_{upstream.name.lower()}"
        kinds = [KINDS[channel] for channel in upstream.endpoint.channels]
        print(athena(settings.store_of(upstream), database.replace("-", "_"), "2020-01-01", kinds), end="")
    return 0


def _token(name: str) -> int:
    for_client, for_file = make(name)
    print(f"For the client, shown this once:\n\n{for_client}\nFor the tokens file:\n\n{for_file}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
