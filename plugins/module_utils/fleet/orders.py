# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people have ordered for an environment: halts and holds, in the parameter ``halt``.

A halt keeps servers from starting and from opening positions; a hold keeps them running after the close. Either is for
everything or for some models, symbols or types, and lasts until it is taken back or until its end. Pure, and of the
standard library only: runs, functions and hosts read the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any

HALT, HOLD, RESUME = "halt", "hold", "resume"
NOT_HALTED = ("false", "off", "no", "0")
# What playbooks/resume.yml writes when nothing is left begins with this; who and why follows.
RESUMED = "false (resumed by "
SCOPES = ("models", "symbols", "types")
# A parameter of SSM's standard tier.
MAX_BYTES = 4096


class OrderError(Exception):
    """An order that cannot be meant. The message is for the person who gave it."""


@dataclass(frozen=True)
class Order:
    """One order, with who gave it, when and why (``record``)."""

    do: str
    record: str
    models: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    until: datetime | None = None

    @property
    def scope(self) -> tuple[tuple[str, ...], ...]:
        return (self.models, self.symbols, self.types)

    def covers(self, model: str) -> bool:
        """Whether it is for this model, named as in the tag ``Model``: type/symbol/name."""
        if not any(self.scope):
            return True
        kind, _slash, rest = model.partition("/")
        return model in self.models or kind in self.types or rest.partition("/")[0] in self.symbols

    def in_force(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def __str__(self) -> str:
        named = [f"{name[:-1]} {', '.join(values)}" for name, values in zip(SCOPES, self.scope, strict=True) if values]
        until = f" until {self.until.isoformat(timespec='minutes')}" if self.until else ""
        return f"{self.do} of {'; '.join(named) or 'everything'}{until}, {self.record}"

    def as_dict(self) -> dict[str, Any]:
        scope = {name: list(values) for name, values in zip(SCOPES, self.scope, strict=True) if values}
        until = {"until": self.until.isoformat()} if self.until else {}
        return {"do": self.do, "record": self.record, **scope, **until}


@dataclass(frozen=True)
class Orders:
    """Everything that is ordered. ``plain`` is a value that is no list of orders, and halts everything."""

    given: tuple[Order, ...] = ()
    plain: str | None = None

    def everything_halted(self, now: datetime) -> str:
        """Why everything is halted; empty if it is not."""
        if self.plain is not None:
            return repr(self.plain)
        return next((f"'{o}'" for o in self._now(HALT, now) if not any(o.scope)), "")

    def halted(self, model: str, now: datetime) -> str:
        """Why this model is halted, by an order for some; empty if it is not. An unknown model is."""
        return next((f"'{o}'" for o in self._now(HALT, now) if any(o.scope) and (not model or o.covers(model))), "")

    def held(self, model: str, now: datetime) -> str:
        """Why this model's server stays running after the close; empty if it does not."""
        return next((str(order) for order in self._now(HOLD, now) if order.covers(model)), "")

    def in_force(self, now: datetime) -> list[str]:
        """All that is in force, as text."""
        plain = [f"halt of everything, {self.plain}"] if self.plain is not None else []
        return plain + [str(order) for order in self.given if order.in_force(now)]

    def _now(self, do: str, now: datetime) -> list[Order]:
        return [order for order in self.given if order.do == do and order.in_force(now)]


NO_ORDERS = Orders()


def read_orders(value: str) -> Orders:
    """The orders in the parameter's value. Anything but a clear "no" or a proper list of orders halts everything."""
    if value.strip().lower() in NOT_HALTED or value.startswith(RESUMED):
        return Orders()
    try:
        stored = json.loads(value)
        if not isinstance(stored, dict) or not stored.keys() <= {"orders", "last"}:
            return Orders(plain=value)
        return Orders(tuple(_order(entry) for entry in stored["orders"]))
    except (KeyError, TypeError, ValueError):
        return Orders(plain=value)


def _order(entry: Any) -> Order:
    if not isinstance(entry, Mapping) or not entry.keys() <= {"do", "record", "until", *SCOPES}:
        raise ValueError(entry)
    scope = {name: _texts(entry[name]) for name in SCOPES if name in entry}
    order = Order(str(entry["do"]), str(entry["record"]), until=_until(entry.get("until")), **scope)
    if order.do not in (HALT, HOLD) or (order.do == HOLD and order.until is None):
        raise ValueError(entry)
    return order


def _texts(value: Any) -> tuple[str, ...]:
    # An empty scope is none at all, and would mean everything.
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError(value)
    return tuple(value)


def _until(value: Any) -> datetime | None:
    if value is None:
        return None
    until = datetime.fromisoformat(value)
    if until.tzinfo is None:
        raise ValueError(value)
    return until


def moment(text: str, zone: tzinfo, now: datetime) -> datetime:
    """A time as people write it: ``18:00`` for today, or a date and a time; in the zone, unless it names its own.

    :raises OrderError: for anything else, a local time that a change of daylight saving skips included
    """
    today = now.astimezone(zone).date()
    try:
        found = datetime.fromisoformat(f"{today}T{text}" if len(text) == 5 else text.replace("Z", "+00:00"))
    except ValueError:
        found = None
    if found is None or len(text) == 10:
        raise OrderError(f"{text!r} is not a time such as 18:00 or 2026-12-24T18:00.")
    if found.tzinfo is not None:
        return found
    local = found.replace(tzinfo=zone)
    if datetime.fromtimestamp(local.timestamp(), zone).replace(tzinfo=None) != found:
        raise OrderError(f"{text!r} does not exist in {zone}: the clocks change.")
    return local


def changed(value: str, order: Order, now: datetime) -> str:
    """The parameter's value with one more order in it. ``resume`` takes orders back: those for exactly the same
    models, symbols and types, or without any all of them. What has run out goes.

    :raises OrderError: if nothing is to be taken back, or the parameter would be too large
    """
    before = read_orders(value)
    kept = [one for one in before.given if one.in_force(now)]
    if order.do == RESUME:
        kept = _taken_back(before, kept, order)
    else:
        if order.until is not None and not order.in_force(now):
            raise OrderError(f"The end, {order.until.isoformat()}, is not in the future.")
        if before.plain is not None:
            kept = [Order(HALT, before.plain)]
        # The newest reason replaces the older ones for the same.
        kept = [one for one in kept if (one.do, one.scope) != (order.do, order.scope)] + [order]
    return _written(kept, order.record)


def _taken_back(before: Orders, kept: Sequence[Order], order: Order) -> list[Order]:
    if not any(order.scope):
        return []
    left = [one for one in kept if one.scope != order.scope]
    if len(left) == len(kept):
        there = "; ".join([*([f"halt of everything, {before.plain}"] if before.plain else []), *map(str, kept)])
        raise OrderError(f"There is no order for exactly these. In force: {there or 'nothing'}.")
    return left


def _written(kept: Sequence[Order], record: str) -> str:
    if not kept:
        return f"false (resumed {record})"
    if len(kept) == 1 and kept[0] == replace(kept[0], do=HALT, models=(), symbols=(), types=(), until=None):
        # As a person would write it.
        return kept[0].record if kept[0].record.startswith("halted") else f"halted {kept[0].record}"
    text = json.dumps({"orders": [one.as_dict() for one in kept], "last": record}, ensure_ascii=False)
    if len(text.encode()) > MAX_BYTES:
        raise OrderError(
            f"The orders would take {len(text.encode())} bytes; the parameter holds {MAX_BYTES}. Take some back, or "
            "name symbols or types instead of models."
        )
    return text
