# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking hosts to drain, and waiting for each one's own confirmation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from .commands import Command, Unanswered, send
from .settings import ShutdownSettings


def drain(
    ssm: Any,
    settings: ShutdownSettings,
    ids: Sequence[str],
    clock: Clock,
    deadline: float,
    confirmed: Callable[[Mapping[str, str]], None],
) -> Unanswered:
    """Send the drain to each of these hosts once. What is unfinished at `deadline` may succeed later.

    :param confirmed: is given the hosts that confirmed, and what they said, as soon as they did.
    """
    comment = f"Shutdown of {settings.project} {settings.environment}"
    command = Command(settings.drain_document, "drain", comment, settings.drain_timeout)
    return send(ssm, command, ids, clock, deadline, confirmed)
