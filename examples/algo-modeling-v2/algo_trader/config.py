# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration and the environment, read once and checked completely."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

FORMAT = "algo-trading/config/1"
ENVIRONMENTS = ("local", "dev", "qa", "prod")
BARS = ("daily", "minute")

T = TypeVar("T")


class Refusal(Exception):
    """The configuration or the model can't be used, and starting again would not change that."""


@dataclass(frozen=True)
class Model:
    name: str
    version: str
    path: str


@dataclass(frozen=True)
class Broker:
    url: str
    paper: bool


@dataclass(frozen=True)
class Limits:
    max_position: float
    max_order: float
    max_daily_loss: float


@dataclass(frozen=True)
class Config:
    format: str
    environment: str
    model: Model
    symbol: str
    feed_url: str
    broker: Broker
    credentials: str
    limits: Limits
    flatten_on_drain: bool
    drain_seconds: int
    loop_seconds: float
    state_dir: str
    run_dir: str
    bars: str = "daily"

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    @property
    def run(self) -> Path:
        return Path(self.run_dir)


@dataclass(frozen=True)
class Keys:
    """The broker's; the market-data server gets them too, unless it has given us others."""

    key_id: str
    secret_key: str
    feed_key_id: str = ""
    feed_secret_key: str = ""

    @property
    def feed(self) -> tuple[str, str]:
        return (self.feed_key_id, self.feed_secret_key) if self.feed_key_id else (self.key_id, self.secret_key)


def load(environment: Mapping[str, str]) -> Config:
    """The file that ALGO_CONFIG names."""
    if not (name := environment.get("ALGO_CONFIG")):
        raise Refusal("ALGO_CONFIG is not set; it names the configuration file")
    config = _build(Config, _object(Path(name), "The configuration"), "")
    _check(config)
    return config


def keys(config: Config, environment: Mapping[str, str]) -> Keys:
    """The broker's and the feed's key pair."""
    if not (folder := environment.get("CREDENTIALS_DIRECTORY")):
        raise Refusal("CREDENTIALS_DIRECTORY is not set; the unit sets it with LoadCredential=")
    return _build(Keys, _object(Path(folder) / config.credentials, "The credentials file"), "credentials.")


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise Refusal(f"{what} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # the message of json's error shows none of the content
        raise Refusal(f"{what} {path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refusal(f"{what} {path} is not a JSON object")
    return found


def _build(kind: type[T], values: dict[str, Any], where: str) -> T:
    assert not isinstance(kind, types.UnionType)
    dataclass_type: Any = kind
    wanted = {field.name: field for field in fields(dataclass_type)}
    if unknown := sorted(set(values) - set(wanted)):
        raise Refusal("Unknown fields: " + ", ".join(where + name for name in unknown))
    required = [name for name, field in wanted.items() if field.default is MISSING]
    if missing := [name for name in required if name not in values]:
        raise Refusal("Missing fields: " + ", ".join(where + name for name in missing))
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, where + name) for name, value in values.items()})


def _value(kind: type[Any], value: Any, name: str) -> Any:
    if kind in (Model, Broker, Limits):
        if not isinstance(value, dict):
            raise Refusal(f"{name} must be an object")
        return _build(kind, value, f"{name}.")
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise Refusal(f"{name} must be a positive number")
        return float(value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise Refusal(f"{name} must be a positive integer")
        return value
    if not isinstance(value, kind):
        raise Refusal(f"{name} must be {'true or false' if kind is bool else 'a string'}")
    if value == "":
        raise Refusal(f"{name} is empty")
    return value


def _check(config: Config) -> None:
    if config.format != FORMAT:
        raise Refusal(f"format is {config.format!r}, not {FORMAT!r}")
    if config.environment not in ENVIRONMENTS:
        raise Refusal(f"environment must be one of {', '.join(ENVIRONMENTS)}, not {config.environment!r}")
    if not config.broker.paper and config.environment != "prod":
        raise Refusal(f"broker.paper must be true in {config.environment}; only prod trades with real money")
    if not config.broker.url.startswith(("https://", "http://")):
        raise Refusal("broker.url must start with https:// or http://")
    if not config.broker.paper and not config.broker.url.startswith("https://"):
        raise Refusal("broker.url must start with https:// for an account with real money")
    if not config.feed_url.startswith(("wss://", "ws://")):
        raise Refusal("feed_url must start with ws:// or wss://")
    if config.bars not in BARS:
        raise Refusal(f"bars must be one of {', '.join(BARS)}, not {config.bars!r}")
    if "/" in config.credentials or config.credentials.startswith("."):
        raise Refusal("credentials must be the name of a file in CREDENTIALS_DIRECTORY, not a path")
