# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The broker's own calendar, as a second source for what the exchange does today."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError, Unreachable, from_aws
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, CalendarEnded

_SECONDS = 10
_TRIES = 3


@dataclass(frozen=True)
class Broker:
    """Where the broker's API is, and the secret with its keys."""

    url: str
    secret: str

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> Broker | None:
        """The broker of the fleet's configuration, which its servers use too; nothing if it names none."""
        broker = configuration.get("broker")
        url = str(broker.get("url", "")) if isinstance(broker, Mapping) else ""
        secret = str(configuration.get("broker_secret", ""))
        return cls(url.rstrip("/"), secret) if url and secret else None


def keys(secrets: Any, name: str) -> dict[str, str]:
    """The broker's keys; empty if nobody has stored any yet."""
    try:
        stored = json.loads(secrets.get_secret_value(SecretId=name).get("SecretString") or "{}")
    except ValueError:
        return {}
    except Exception as error:
        raise from_aws(f"read the secret {name}", error) from error
    found = {key: str(stored.get(key, "")) for key in ("key_id", "secret_key")} if isinstance(stored, dict) else {}
    return found if found and all(found.values()) else {}


def ask(broker: Broker, given: Mapping[str, str], day: date, seconds: float = _SECONDS) -> tuple[str, str] | None:
    """When the broker's calendar has the session of a day open and close, ``HH:MM``; nothing if it has none.

    :raises Unreachable: if it does not answer, or not with a calendar
    """
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's
        f"{broker.url}/v2/calendar?start={day}&end={day}",
        headers={"APCA-API-KEY-ID": given["key_id"], "APCA-API-SECRET-KEY": given["secret_key"]},
    )
    why: Exception | None = None
    for _try in range(_TRIES):
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 - likewise
                sessions = {entry["date"]: (str(entry["open"]), str(entry["close"])) for entry in json.load(answer)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = error
        else:
            return sessions.get(str(day))
    raise Unreachable(f"The broker's calendar at {broker.url} cannot be read: {why}") from why


def disagreement(calendar: Calendar, day: date, theirs: tuple[str, str] | None) -> str:
    """How the broker's calendar differs from ours on a day; empty if it does not. Pure."""
    session = calendar.on(day)
    ours = (f"{session.opens:%H:%M}", f"{session.closes:%H:%M}") if session else None
    if ours == theirs:
        return ""
    said = [" to ".join(hours) if hours else "no session" for hours in (ours, theirs)]
    return (
        f"The calendars disagree about {day}: {calendar.exchange} of this version has {said[0]}, the broker {said[1]}. "
        "Find out which is right and set the day in algo_calendar (closed, early_closes or extra_sessions), then run "
        "site.yml. A day that is set there is not compared"
    )


def doubt(
    calendar: Calendar, scheduled: datetime, configuration: Mapping[str, Any], secrets: Callable[[], Any]
) -> tuple[str, str]:
    """Why the calendar cannot be trusted today, and why it could not be compared; either may be empty."""
    day = calendar.today(scheduled)
    broker = Broker.of(configuration)
    if broker is None or calendar.overrides(day):
        return "", ""
    try:
        given = keys(secrets(), broker.secret)
        return (disagreement(calendar, day, ask(broker, given, day)) if given else ""), ""
    except CalendarEnded:
        return "", ""  # that is told already
    except AlgoTradingError as error:
        return "", str(error)
