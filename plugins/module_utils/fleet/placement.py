# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where instances go: ranked types by subnets, spread over zones, with a short memory of places without capacity."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .desired import LaunchSpec, Server, digest
from .pacing import Clock

ANY_TYPE = "*"
_REMEMBER_SECONDS = 300.0
# Quotas count vCPUs by group of families; what is not named here shares the standard one.
_QUOTA_FAMILIES = {"f": "F", "g": "G", "vt": "G", "p": "P", "x": "X", "inf": "Inf", "trn": "Trn", "dl": "DL", "u": "U"}


@dataclass(frozen=True)
class Candidate:
    instance_type: str
    subnet_id: str


@dataclass
class Batch:
    """Servers that one RunInstances call can launch together."""

    spec: LaunchSpec
    home: str
    servers: list[Server]
    generation: int = 0
    # Whether a launch of fewer than asked for is welcome: the place has not enough capacity for all.
    partial: bool = False
    # Smaller than the batch while a quota leaves room for less.
    most: int = field(default=1000)


class CapacityMemory:
    """Pairs of type and subnet that had no capacity lately. Shared by threads; may be kept between runs."""

    def __init__(self, clock: Clock, path: str = "", seconds: float = _REMEMBER_SECONDS) -> None:
        self._clock = clock
        self._path = Path(path) if path else None
        self._seconds = seconds
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str], float] = {}
        if self._path and self._path.exists():
            try:
                stored = json.loads(self._path.read_text(encoding="utf-8"))
                self._until = {(kind, subnet): float(until) for kind, subnet, until in stored}
            except (ValueError, TypeError, OSError):
                # An unreadable memory is treated as empty.
                self._until = {}

    def add(self, instance_type: str, subnet_id: str) -> None:
        with self._lock:
            self._until[(instance_type, subnet_id)] = self._now() + self._seconds

    def blocks(self, candidate: Candidate) -> bool:
        with self._lock:
            now = self._now()
            keys = ((candidate.instance_type, candidate.subnet_id), (ANY_TYPE, candidate.subnet_id))
            return any(self._until.get(key, 0.0) > now for key in keys)

    def save(self) -> None:
        if self._path:
            now = self._now()
            kept = [[kind, subnet, until] for (kind, subnet), until in sorted(self._until.items()) if until > now]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(kept), encoding="utf-8")

    def _now(self) -> float:
        # The date, not the process's clock: it must mean the same in the next run.
        return self._clock.now().timestamp()


def candidates(spec: LaunchSpec, home: str) -> list[Candidate]:
    """Best first: the preferred type in the home subnet, then in the others, then the next type."""
    subnets = spec.settings.subnet_ids
    start = subnets.index(home) if home in subnets else 0
    ordered = [*subnets[start:], *subnets[:start]]
    return [Candidate(kind, subnet) for kind in spec.settings.instance_types for subnet in ordered]


def make_batches(servers: Iterable[Server], size: int) -> list[Batch]:
    """Group servers with equal launches and the same home subnet, in even batches of at most `size`."""
    groups: dict[tuple[str, str], list[Server]] = {}
    for server in sorted(servers, key=lambda item: item.name):
        groups.setdefault((spec_key(server.spec), server.home), []).append(server)
    batches: list[Batch] = []
    for (_key, home), members in sorted(groups.items()):
        count = math.ceil(len(members) / size)
        for number in range(count):
            start, end = len(members) * number // count, len(members) * (number + 1) // count
            part = members[start:end]
            batches.append(Batch(part[0].spec, home, list(part)))
    return batches


def spec_key(spec: LaunchSpec) -> str:
    launch = spec.settings
    return digest(
        [launch.image_id, launch.instance_types, launch.subnet_ids, spec.launch_digest, spec.config_digest, spec.tags]
    )


def client_token(batch: Batch, servers: Sequence[Server], candidate: Candidate, mark: str) -> str:
    """The same servers, launch, place and generation give the same token: on a retry, after a crash, and for a
    second operator. A different count or parameter gives another one, so that EC2 never sees a mismatch. The fleet's
    mark in it tells whose an instance is, even if its tags change."""
    content = digest(
        [
            mark,
            [server.name for server in servers],
            spec_key(batch.spec),
            candidate.instance_type,
            candidate.subnet_id,
            batch.partial,
        ],
        length=44,
    )
    return f"algo-{mark}-{content}-{batch.generation}"


def quota_class(instance_type: str, market: str) -> str:
    """The vCPU quota that a type counts against: once it is used up, its other types need not be tried."""
    for prefix in sorted(_QUOTA_FAMILIES, key=len, reverse=True):
        rest = instance_type[len(prefix) : len(prefix) + 1]
        if instance_type.startswith(prefix) and (rest.isdigit() or rest == "-"):
            return f"{market} {_QUOTA_FAMILIES[prefix]}"
    return f"{market} standard"
