# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the server does its work: judged by what arrived last, not by whether the process lives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..protocol import CHANNELS
from . import trading
from .state import Gap, Phase, State

# Half-dead connections hold their place at Alpaca for about 90 s; being turned away for that long is normal.
PATIENCE_NS = 150 * 1_000_000_000
# A gap that is not filled degrades health for this long.
GAP_SHOWN_NS = 3600 * 1_000_000_000
_SHOWN_SYMBOLS = 20
_WORKING = {Phase.STREAMING, Phase.STANDBY}
_BROKEN = {Phase.HALTED, Phase.SILENT}
_SEVERITY = ("ok", "standby", "degraded", "failing")


def timestamp(nanoseconds: int) -> str | None:
    """RFC 3339 in UTC with microseconds; None for 0, "never"."""
    if not nanoseconds:
        return None
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def judge(state: State) -> tuple[str, list[str]]:
    """Returns "ok", "standby", "degraded" or "failing", and the reasons in words.

    failing: a person is needed, or nothing useful has come for longer than any reconnect takes.
    """
    reasons = list(state.alerts.values())
    detail = f": {state.phase_detail}" if state.phase_detail else ""
    if state.phase in _BROKEN:
        reasons.append(f"the feed is {state.phase.value}{detail}")
    elif state.phase not in _WORKING:
        since = state.clock() - state.phase_lost_ns
        if since > PATIENCE_NS and state.session_open is not False:
            reasons.append(f"the feed has been {state.phase.value} and not streaming for {since // 10**9} s{detail}")
        elif not reasons:
            return "degraded", [f"the feed is {state.phase.value}{detail}"]
    if reasons:
        return "failing", reasons
    if state.phase is Phase.STANDBY:
        return "standby", [f"another instance serves{detail}"]
    if state.upstream_dropped:
        names = ", ".join(f"{channel} {' '.join(symbols)}" for channel, symbols in state.upstream_dropped.items())
        reasons.append(f"refused by the upstream symbol limit: {names}")
    reasons += _gaps(state)
    return ("degraded", reasons) if reasons else ("ok", [])


def _gaps(state: State) -> list[str]:
    """What is missing since a moment ago, or not fetched yet."""
    recent = [gap for gap in state.gaps if not gap.ended_ns or state.clock() - gap.ended_ns < GAP_SHOWN_NS]
    found = []
    for gap in recent:
        what = f"the gap of {timestamp(gap.began_ns)} ({gap.reason})"
        if gap.missing:
            found.append(f"{what} is not filled: " + "; ".join(f"{name} {why}" for name, why in gap.missing.items()))
        elif not gap.settled and gap.ended_ns:
            found.append(f"{what} is being filled")
    return found


def shown_gap(gap: Gap) -> dict[str, Any]:
    """A gap, for people and programs."""
    return {
        "reason": gap.reason,
        "began": timestamp(gap.began_ns),
        "ended": timestamp(gap.ended_ns),
        "filled": gap.filled,
        "settled": gap.settled,
        "error": gap.error,
        "channels": {
            name: {
                "began": timestamp(each.began_ns),
                "symbols": each.symbols,
                "fetched": each.fetched,
                "result": each.result,
            }
            for name, each in gap.channels.items()
        },
    }


def overall(states: Mapping[str, State]) -> tuple[str, dict[str, Any]]:
    """What /health answers: the worst of the feeds' states, their reasons, and each feed by its name.

    Where there is one feed, what is said of it stands at the top as well.
    """
    feeds = {name: health(state) for name, state in states.items()}
    worst = max((found["status"] for found in feeds.values()), key=_SEVERITY.index)
    if len(feeds) == 1:
        (only,) = feeds.values()
        return worst, {**only, "feeds": feeds}
    return worst, {
        "status": worst,
        "reasons": [f"{name}: {reason}" for name, found in feeds.items() for reason in found["reasons"]],
        "clients": sum(found["clients"] for found in feeds.values()),
        "feeds": feeds,
    }


def health(state: State) -> dict[str, Any]:
    """One feed's."""
    status, reasons = judge(state)
    now = state.clock()
    return {
        "status": status,
        "reasons": reasons,
        "feed": {
            "phase": state.phase.value,
            "since": timestamp(state.phase_since_ns),
            "detail": state.phase_detail,
            "session_open": state.session_open,
        },
        "last_message": timestamp(state.last_message_ns),
        "channels": {
            CHANNELS.get(kind, kind): {
                "last_message": timestamp(channel.last_ns),
                "age_seconds": round((now - channel.last_ns) / 1e9, 3) if channel.last_ns else None,
                "received": channel.received,
            }
            for kind, channel in state.channels.items()
        },
        "unknown": {
            CHANNELS[kind]: {"count": len(symbols), "symbols": symbols[:_SHOWN_SYMBOLS]}
            for kind in trading.KINDS
            if (symbols := state.trading.unknown(kind))
        },
        "gaps": {"count": state.gap_count, "last": shown_gap(state.gaps[-1]) if state.gaps else None},
        "clients": len(state.clients),
        "alerts": state.alerts,
    }
