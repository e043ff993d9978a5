# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One action on many instances in few requests; one failing instance does not block the others.

AWS refuses a whole request because of one instance in it. Sometimes the answer names that one, often it does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_ID = re.compile(r"\bi-[0-9a-f]{8,17}\b")
# So many refused one by one, and none accepted: the rest would be refused as well.
_HOPE = 16


@dataclass
class Outcome:
    """What was done to which instances, and why not to the others."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)


def act_in_batches(
    ids: Sequence[str],
    size: int,
    act: Callable[[list[str]], Any],
    *,
    hopeless: Callable[[Exception], bool] = lambda error: False,
    indivisible: Callable[[Exception], bool] = lambda error: False,
) -> Outcome:
    """Act on ids, so many in a request. A refusal that names instances sets them aside; one that names none halves
    the batch until the one that fails is alone. `hopeless` tells refusals that no other batch would escape,
    `indivisible` those that no part of the same batch would."""
    outcome = Outcome()
    waiting = [list(ids[start : start + size]) for start in range(0, len(ids), size)]
    alone = 0
    while waiting:
        batch = waiting.pop(0)
        try:
            act(batch)
        except Exception as error:
            named = set(_ID.findall(str(error)))
            bad = [id_ for id_ in batch if id_ in named]
            if len(batch) == 1:
                bad = batch
                alone += 1
            if hopeless(error) or (alone >= _HOPE and not outcome.done):
                left = [*batch, *(id_ for other in waiting for id_ in other)]
                outcome.failed.update(dict.fromkeys(left, error))
                return outcome
            if indivisible(error):
                bad = batch
            outcome.failed.update(dict.fromkeys(bad, error))
            rest = [id_ for id_ in batch if id_ not in bad]
            half = len(rest) // 2
            waiting[:0] = [part for part in ([rest] if bad else [rest[:half], rest[half:]]) if part]
        else:
            outcome.done += batch
    return outcome
