# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: start in the order of the contract, loop, drain."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from . import config as configuration
from . import files, model
from .book import Unexplained
from .broker import Broker, BrokerError
from .config import Config, Refusal
from .drain import drain
from .feed import Feed
from .log import log
from .notify import Notify
from .trader import Trader

REFUSED = 78
_PAUSE = 1.0
_FEED_PATIENCE = 90.0


def run(environment: Mapping[str, str]) -> int:
    notify = Notify(environment)
    try:
        config = configuration.load(environment)
    except Refusal as refusal:
        log("refused", reason=str(refusal))
        notify(f"STATUS=refused: {refusal}")
        return REFUSED
    with files.lock(config.state) as locked:
        if not locked:
            log("another process trades this model", state_dir=config.state_dir)
            return 1
        try:
            return _serve(config, environment, notify)
        except Refusal as refusal:
            return _end(config, notify, "refused", str(refusal), REFUSED)
        except Unexplained as error:
            return _end(config, notify, "refused", f"Orders and positions cannot be explained: {error}", 1)
        except (BrokerError, ValueError, OSError) as error:
            return _end(config, notify, "starting", str(error), 1)


def _end(config: Config, notify: Notify, state: str, reason: str, status: int) -> int:
    log(state if state == "refused" else "failed", reason=reason)
    notify(f"STATUS={state}: {reason}")
    _health(config, state, reason)
    return status


def _health(config: Config, state: str, reason: str = "") -> None:
    """Before there is a loop."""
    found: dict[str, Any] = {
        "state": state, "last_loop": None, "model": config.model.name, "version": config.model.version,
        "positions": 0, "open_orders": 0,
    }  # fmt: skip
    files.replace(config.run / files.HEALTH, found | ({"reason": reason} if reason else {}))


def _serve(config: Config, environment: Mapping[str, str], notify: Notify) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _health(config, "starting")
    loaded = model.load(config)
    keys = configuration.keys(config, environment)
    trader = Trader(config, Broker(config, keys), notify)
    trader.refresh()
    trader.save()
    log("reconciled", position=float(trader.book.position), open_orders=len(trader.book.open()))
    if not _asked(config, stop):
        feed = Feed(config.feed_url, keys, config.symbol, config.bars, trader.closes)
        feed.start()
        try:
            _trade(trader, loaded, feed, stop)
        finally:
            feed.stop()
    return 0 if drain(trader) else 1


def _trade(trader: Trader, loaded: model.Model, feed: Feed, stop: threading.Event) -> None:
    """Until a drain is asked for."""
    config = trader.config
    if not _wait_for(feed, config, stop):
        return
    trader.notify("READY=1", f"STATUS=trading {config.model.name}")
    log("ready", model=config.model.name, version=config.model.version)
    failing = ""
    while not _asked(config, stop):
        trader.closes, trader.feed_lag = feed.kept(), feed.lag()
        try:
            trader.loop(loaded.position(list(feed.closes().values())), *feed.price())
            failing = ""
        except BrokerError as error:  # no completed loop: health and watchdog tell if it stays so
            if str(error) != failing:
                log("loop failed", reason=str(error))
            failing = str(error)
        stop.wait(_PAUSE)
    trader.closes = feed.kept()


def _asked(config: Config, stop: threading.Event) -> bool:
    """To drain, by a signal or by the command; one that was not confirmed goes on after a restart."""
    return stop.is_set() or (config.run / files.DRAIN).exists()


def _wait_for(feed: Feed, config: Config, stop: threading.Event) -> bool:
    """Whether there is a feed; without one only if a drain is asked for."""
    began = datetime.now(UTC)
    while not feed.ready.wait(0.2) and not _asked(config, stop):
        if (datetime.now(UTC) - began).total_seconds() > _FEED_PATIENCE:
            raise OSError(f"no market data from {config.feed_url}: {feed.error}")
    return feed.ready.is_set()
