# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The spot notice: two minutes before AWS takes the instance back. The running job is told by a file."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from .imds import Imds
from .places import Places, held, now, read_json, write_json

_ACTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
INTERRUPTION, REBALANCE = "interruption", "rebalance"


def look(imds: Imds) -> dict[str, Any]:
    """What is announced, the interruption before the recommendation; empty if nothing is.

    :raises OSError: if the metadata service does not answer
    """
    for kind, path, time_of in ((INTERRUPTION, _ACTION, "time"), (REBALANCE, _REBALANCE, "noticeTime")):
        text = imds.get(path)
        if text is None:
            continue
        try:
            told = json.loads(text)
        except ValueError:
            told = {}
        told = told if isinstance(told, dict) else {}
        # Whatever it says, something is announced: without a time it may be at once.
        return {"kind": kind, "action": str(told.get("action", "")), "time": str(told.get(time_of, ""))}
    return {}


def watch(places: Places, imds: Imds, say: Callable[[str], None], seconds: float) -> None:
    """Look for ever. A metadata service that does not answer changes nothing."""
    places.notice.parent.mkdir(parents=True, exist_ok=True)
    answers = True
    while True:
        try:
            found = look(imds)
        except OSError as error:
            if answers:
                say(f"the instance metadata service does not answer, still trying: {error}")
            answers = False
        else:
            if not answers:
                say("the instance metadata service answers again")
            answers = True
            note(places, found, say)
        time.sleep(seconds)


def note(places: Places, found: dict[str, Any], say: Callable[[str], None]) -> None:
    """Write down what is announced, once, where the job and its supervisor see it."""
    known = read_json(places.notice)
    if {name: known.get(name) for name in found} == found and bool(known) == bool(found):
        return
    if not found:
        with contextlib.suppress(FileNotFoundError):
            places.notice.unlink()
        say("the spot notice was taken back")
        return
    write_json(places.notice, {**found, "seen": now()})
    told = "the running job is told to write its checkpoint" if held(places.job_lock) else "no job runs"
    what = f"AWS will {found['action'] or 'interrupt'}" if found["kind"] == INTERRUPTION else "AWS may soon interrupt"
    say(f"{what} this instance ({found['time'] or 'no time given'}): {told}")
