# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trades one model on one symbol, as ALGO_CONFIG says.

run      the service
status   show health.json; ends with 0 only if it trades or is halted and its last loop is recent
drain    stop trading: no open orders, positions closed if so configured; ends with 0 only if that is confirmed
halt     no order opens or enlarges a position from now on
resume   the end of a halt, and of a drain that was asked for and not confirmed
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from . import config as configuration
from . import files
from .config import Config, Refusal
from .log import log

_MARGIN = 20.0  # seconds that a draining process has on top of its own


def _healthy(config: Config, health: dict[str, Any]) -> bool:
    if health.get("state") not in ("trading", "halted") or not health.get("last_loop"):
        return False
    age = (datetime.now(UTC) - datetime.fromisoformat(health["last_loop"])).total_seconds()
    return age < config.loop_seconds


def status(config: Config, options: argparse.Namespace) -> int:
    health = files.read(config.run / files.HEALTH)
    if health is None:
        print(
            json.dumps({"state": "unknown"}) if options.json else f"{config.model.name}: it has not run since the boot"
        )
        return 1
    healthy = _healthy(config, health)
    if options.json:
        print(json.dumps(health, indent=1))
        return 0 if healthy else 1
    stale = "" if healthy or health["state"] not in ("trading", "halted") else ", but its last loop is too old"
    reason = f"\nreason:    {health['reason']}" if "reason" in health else ""
    print(f"{health['model']}  version {health['version']}\nstate:     {health['state']}{stale}{reason}")
    print(f"last loop: {health['last_loop'] or 'none'}")
    if "profit_and_loss" in health:
        money = ", ".join(f"{name} {value:+.2f}" for name, value in health["profit_and_loss"].items())
        print(
            f"position:  {health['position']:g} {health['symbol']} at {health['average_price']:g}, "
            f"now {health['price']:g}"
        )
        print(f"orders:    {health['orders']}, {health['fills']} with fills, {health['open_orders']} open")
        print(f"profit and loss: {money}")
    return 0 if healthy else 1


def halt(config: Config, _options: argparse.Namespace) -> int:
    files.raise_flag(config.run / files.HALT)
    return 0


def resume(config: Config, _options: argparse.Namespace) -> int:
    files.lower_flag(config.run / files.HALT)
    files.lower_flag(config.run / files.DRAIN)
    return 0


def drain(config: Config, options: argparse.Namespace) -> int:
    """The running process drains; where there is none, this one does."""
    flag = config.run / files.DRAIN
    with files.lock(config.state) as alone:
        if not alone:
            files.raise_flag(flag)
        else:
            return _drain_here(config, options)
    deadline = time.monotonic() + config.drain_seconds + _MARGIN
    while time.monotonic() < deadline:
        time.sleep(0.2)
        with files.lock(config.state) as alone:
            if not alone:
                continue
            health = files.read(config.run / files.HEALTH) or {}
            if flag.exists() and not (health.get("state") == "draining" and "reason" in health):
                return _drain_here(config, options)  # it ended before it had drained
            return _tell(config, options)
    print(f"{config.model.name}: the process has not ended within {config.drain_seconds} s", file=sys.stderr)
    return 1


def _drain_here(config: Config, options: argparse.Namespace) -> int:
    health = files.read(config.run / files.HEALTH) or {}
    if health.get("state") == "drained":
        return _tell(config, options)
    from .broker import Broker, BrokerError
    from .drain import drain as drain_now
    from .notify import Notify
    from .trader import Trader

    try:
        keys = configuration.keys(config, os.environ)
        drain_now(Trader(config, Broker(config, keys), Notify({})))
    except (BrokerError, ValueError, OSError) as error:
        log("not drained", reason=str(error))
        return 1
    return _tell(config, options)


def _tell(config: Config, options: argparse.Namespace) -> int:
    health = files.read(config.run / files.HEALTH) or {}
    done = health.get("state") == "drained"
    if options.json:
        print(json.dumps(health, indent=1))
    else:
        left = f"{health.get('position', 0):g} {config.symbol} held, {health.get('open_orders', 0)} orders open"
        print(f"{config.model.name}: {'drained' if done else health.get('reason', 'not drained')}; {left}")
    return 0 if done else 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="algo-trader", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run")
    for action in (status, drain, halt, resume):
        command = commands.add_parser(action.__name__)
        command.add_argument("--json", action="store_true", help="print health.json as it is")
        command.set_defaults(action=action)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.command == "run":
        from .run import run  # alpaca-py takes seconds to load; status and halt need none of it

        return run(os.environ)
    try:
        return int(options.action(configuration.load(os.environ), options))
    except Refusal as refusal:
        print(f"algo-trader: {refusal}", file=sys.stderr)
        return 78
    except (OSError, ValueError) as error:
        print(f"algo-trader: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
