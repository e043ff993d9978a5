# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New models: what the bucket's queue tells of published objects, and which of their models have no server yet.

A message never says what to do. It only says where to look: the bucket and the fleet are read as for a start, so
duplicate, late and lost messages come to the same. Nothing but a model without a server is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import ADOPT, CREATE
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings, Selector
from ansible_collections.algo.trading.plugins.module_utils.models import Model

from .events import START, Published, Request, refused
from .report import Log
from .settings import Settings

_NAMED = 20


def is_batch(event: Any) -> bool:
    """Whether an event holds messages of a queue."""
    return isinstance(event, Mapping) and "Records" in event


def parse(event: Mapping[str, Any], settings: Settings, now: datetime, log: Log) -> Request:
    """The published objects that the messages of our queue tell of. What is no such message is named and left aside:
    an error would bring it back, and the good ones with it."""
    records = event["Records"]
    if not isinstance(records, list):
        raise refused(f"Records must be a list, not {type(records).__name__}")
    found: dict[Published, None] = {}  # each once, in their order
    for record in records:
        try:
            found.update(dict.fromkeys(_published(record, settings.new_models_queue)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            number = record.get("messageId", "") if isinstance(record, Mapping) else ""
            log.warning("Message ignored", message_id=str(number), reason=f"{type(error).__name__}: {error}")
    log.info("Messages read", messages=len(records), objects=len(found))
    return Request(START, scheduled=now, published=tuple(found))


def _published(record: Any, queue: str) -> Iterable[Published]:
    """The objects of one message.

    :raises ValueError: or whatever reading it raises, if it is not a message of S3 in our queue.
    """
    source = str(record["eventSourceARN"])
    if record["eventSource"] != "aws:sqs" or source.rpartition(":")[2] != queue:
        raise ValueError(f"it is of {source}, not of the queue {queue}")
    body = json.loads(record["body"])
    if body.get("Event") == "s3:TestEvent":  # S3 sends it when the notification is set
        return []
    return [
        Published(str(entry["s3"]["bucket"]["name"]), unquote_plus(entry["s3"]["object"]["key"]))
        for entry in body["Records"]
        if str(entry["eventName"]).startswith("ObjectCreated:")
    ]


def careful(fleet: FleetSettings) -> FleetSettings:
    """A folder without its manifest is still being published, whatever the settings say at other times: an event comes
    in the middle of it."""
    return replace(fleet, source=replace(fleet.source, require_manifest=True))


def only(fleet: FleetSettings, names: Iterable[str]) -> FleetSettings:
    return replace(fleet, selection=Selector(models=tuple(names)))


def choose(
    fleet: FleetSettings,
    models: Sequence[Model],
    published: Iterable[Published],
    ec2: Any,
    clock: Clock,
    log: Log,
    deadline: float,
) -> list[str]:
    """Names of the models of these objects that have no server and may get one; the log says why the others do not."""
    wanted = _named(fleet, models, published, log)
    if not wanted:
        return []
    everything = [model.as_dict() for model in models]
    plan = reconcile(only(fleet, wanted), everything, ec2, check=True, clock=clock, deadline=deadline).plan
    new = sorted({line.model for line in plan.of(CREATE, ADOPT)})
    for line in plan.lines:
        if line.model not in new:
            log.info("Model not added", model=line.model, reason=line.reason)
    return new


def _named(fleet: FleetSettings, models: Sequence[Model], published: Iterable[Published], log: Log) -> list[str]:
    """Names of the models that these objects are a part of, among those that the fleet is for."""
    found: dict[str, None] = {}
    strange: list[tuple[Published, str]] = []
    for item in published:
        if item.bucket != fleet.source.bucket:
            strange.append((item, f"this environment's models are in {fleet.source.bucket}"))
            continue
        model = next((each for each in models if _is_part(item.key, each.key)), None)
        if model is None:
            strange.append((item, "it is no part of a model that gets a server"))
        elif not fleet.selection.matches(type_=model.type, symbol=model.symbol, model=model.model, name=model.name):
            strange.append((item, f"aws_trading_server_selection leaves out {model.name}"))
        else:
            found[model.name] = None
    for item, why in strange[:_NAMED]:
        log.warning("Object ignored", object=f"s3://{item.bucket}/{item.key}", reason=why)
    if len(strange) > _NAMED:
        log.warning("Objects ignored", more=len(strange) - _NAMED)
    return list(found)


def _is_part(key: str, model: str) -> bool:
    return key == model or key.startswith(f"{model}/")
