# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launching in groups and claiming one by one, so that no crash, retry or second operator makes a duplicate.

An instance is launched without a model, under a token that only depends on the desired launch, and becomes a model's
server by its claim (CreateTags). Whoever finds it unclaimed later may finish the job.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from . import errors
from .api import Ec2Api
from .claims import DRAIN_ASKED
from .desired import Server
from .errors import ApiError, FatalError, FleetError
from .instances import Instance
from .ownership import Identity
from .placement import (
    ANY_TYPE,
    Batch,
    Candidate,
    CapacityMemory,
    candidates,
    client_token,
    make_batches,
    quota_class,
    spec_key,
)
from .progress import Progress
from .settings import FleetSettings

_LAUNCH_THREADS = 4
_GENERATIONS = 50
# After so many denied claims, the others would be denied as well.
_DENIED_CLAIMS = 5


def _fatal(error: ApiError) -> bool:
    return error.hopeless and error.kind != errors.THROTTLED


@dataclass(frozen=True)
class Problem:
    """Why a model has no server (yet)."""

    kind: str
    text: str


@dataclass
class Launched:
    """Results of a launch, by model name."""

    placed: dict[str, Instance] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    # Set when the rest cannot succeed; what was done until then is in `placed`.
    abort: FleetError | None = None


class Launcher:
    """Launches and claims for one run. Remembers what it has assigned, across calls."""

    def __init__(self, settings: FleetSettings, api: Ec2Api, memory: CapacityMemory, progress: Progress) -> None:
        self._settings = settings
        self._api = api
        self._memory = memory
        self._progress = progress
        self._mark = Identity(settings.identity_tags, settings.name_prefix).mark
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._quota_gone: dict[str, ApiError] = {}
        # Launches that this identity may not make, by what is launched: one of another image may be allowed.
        self._denied: dict[str, Problem] = {}
        self._claims_denied = 0

    def know(self, instances: Sequence[Instance]) -> None:
        """Mark these as taken: a repeated token may return them, but they are not new."""
        with self._lock:
            self._taken |= {instance.id for instance in instances}

    def launch(self, servers: Sequence[Server], *, claim: bool) -> Launched:
        """Launch one instance per server, and claim it unless the caller does that later."""
        result = Launched()
        self._progress.expect("launched", len(servers))
        if claim:
            self._progress.expect("claimed", len(servers))
        batches = make_batches(servers, self._settings.launch_batch)
        with (
            ThreadPoolExecutor(_LAUNCH_THREADS) as launching,
            ThreadPoolExecutor(self._settings.workers) as claiming,
        ):
            claims: list[Future[None]] = []
            launches = [
                launching.submit(self._run_batch, batch, result, claims, claiming if claim else None)
                for batch in batches
            ]
            for future in launches:
                self._collect(future, result)
            for future in claims:
                self._collect(future, result)
        return result

    def claim_all(self, pairs: Sequence[tuple[Server, Instance]]) -> Launched:
        """Claim given instances for given servers."""
        result = Launched()
        self._progress.expect("claimed", len(pairs))
        with ThreadPoolExecutor(self._settings.workers) as claiming:
            claims = [claiming.submit(self._claim, server, instance, result) for server, instance in pairs]
            for future in claims:
                self._collect(future, result)
        return result

    def _collect(self, future: Future[None], result: Launched) -> None:
        try:
            future.result()
        except FleetError as exc:
            result.abort = result.abort or exc

    def _run_batch(
        self, batch: Batch, result: Launched, claims: list[Future[None]], claiming: ThreadPoolExecutor | None
    ) -> None:
        last: ApiError | None = None
        while batch.servers and not result.abort:
            if denied := self._denied.get(spec_key(batch.spec)):
                self._fail(batch.servers, denied, result)
                return
            candidate = self._next_candidate(batch)
            if candidate is None:
                problem = self._unplaced(batch, last)
                self._fail(batch.servers, problem, result)
                return
            servers = batch.servers[: batch.most]
            parameters = batch.spec.parameters(
                instance_type=candidate.instance_type,
                subnet_id=candidate.subnet_id,
                count=len(servers),
                # All of them, or as many as there is capacity for.
                least=1 if batch.partial else len(servers),
                batch=servers[0].name,
            )
            try:
                instances = self._api.run_instances(parameters, client_token(batch, servers, candidate, self._mark))
            except ApiError as exc:
                last = exc
                if _fatal(exc):
                    result.abort = result.abort or FatalError(exc.explain("launch instances"))
                    return
                if not self._learn(exc, batch, candidate, len(servers)):
                    text = exc.explain(f"launch {candidate.instance_type} in {candidate.subnet_id}")
                    problem = Problem(exc.kind, text)
                    if exc.kind == errors.DENIED:
                        with self._lock:
                            self._denied[spec_key(batch.spec)] = problem
                    self._fail(batch.servers, problem, result)
                    return
                continue
            pairs = self._pair(servers, instances)
            if not pairs:
                # All instances of this token are taken or terminated.
                batch.generation += 1
                if batch.generation > _GENERATIONS:
                    text = "EC2 keeps returning instances of an earlier launch. Run again later."
                    self._fail(batch.servers, Problem(errors.IDEMPOTENCY, text), result)
                    return
                continue
            names = {server.name for server, _instance in pairs}
            batch.servers = [server for server in batch.servers if server.name not in names]
            self._progress.done("launched", len(pairs))
            for server, instance in pairs:
                if claiming is None or instance.model == server.name:
                    with self._lock:
                        result.placed[server.name] = instance
                    if claiming is not None:
                        self._progress.done("claimed")
                else:
                    claims.append(claiming.submit(self._claim, server, instance, result))

    def _next_candidate(self, batch: Batch) -> Candidate | None:
        market = batch.spec.settings.market
        for candidate in candidates(batch.spec, batch.home):
            if quota_class(candidate.instance_type, market) in self._quota_gone:
                continue
            if not self._memory.blocks(candidate):
                return candidate
        return None

    def _learn(self, error: ApiError, batch: Batch, candidate: Candidate, asked: int) -> bool:
        """Handle an error. False: this batch cannot be retried."""
        if error.kind == errors.CAPACITY and asked > 1 and not batch.partial:
            batch.partial = True
        elif error.kind == errors.CAPACITY:
            batch.partial = False
            self._memory.add(candidate.instance_type, candidate.subnet_id)
        elif error.kind == errors.SUBNET_FULL and asked > 1:
            # There may be addresses for some.
            batch.most = asked // 2
        elif error.kind == errors.SUBNET_FULL:
            batch.most = 1000
            self._memory.add(ANY_TYPE, candidate.subnet_id)
        elif error.kind == errors.IDEMPOTENCY:
            batch.generation += 1
            return batch.generation <= _GENERATIONS
        elif error.kind == errors.QUOTA:
            if asked > 1:
                # The quota may allow some.
                batch.most = asked // 2
            else:
                with self._lock:
                    self._quota_gone[quota_class(candidate.instance_type, batch.spec.settings.market)] = error
                batch.most = 1000
        else:
            return False
        return True

    def _pair(self, servers: Sequence[Server], instances: Sequence[Instance]) -> list[tuple[Server, Instance]]:
        """Match new instances with servers, the same way for everyone who holds this answer."""
        waiting = {server.name: server for server in servers}
        pairs: list[tuple[Server, Instance]] = []
        free: list[Instance] = []
        with self._lock:
            for instance in sorted(instances, key=lambda item: (item.launch_index, item.id)):
                if not instance.live or instance.id in self._taken:
                    continue
                if not instance.model:
                    free.append(instance)
                elif instance.model in waiting:
                    # A second operator was faster.
                    pairs.append((waiting.pop(instance.model), instance))
            pairs += zip(waiting.values(), free, strict=False)
            self._taken |= {instance.id for _server, instance in pairs}
        return pairs

    def _claim(self, server: Server, instance: Instance, result: Launched) -> None:
        if result.abort:
            return
        tags = dict(server.claim_tags)
        if instance.drain_asked:  # it served no model, so the note is not about this one
            tags[DRAIN_ASKED] = ""
        try:
            self._api.create_tags([instance.id], tags)
        except ApiError as exc:
            text = exc.explain(f"claim {instance.id} for {server.name}")
            if _fatal(exc):
                result.abort = result.abort or FatalError(text)
                return
            if exc.kind == errors.DENIED:
                self._claims_denied += 1
                if self._claims_denied >= _DENIED_CLAIMS:
                    result.abort = result.abort or FleetError(text)
            self._fail([server], Problem(exc.kind, text), result)
            return
        with self._lock:
            result.placed[server.name] = instance.with_tags(tags)
        self._progress.done("claimed")

    def _unplaced(self, batch: Batch, last: ApiError | None) -> Problem:
        market = batch.spec.settings.market
        tried = ", ".join(batch.spec.settings.instance_types)
        gone = {quota_class(kind, market) for kind in batch.spec.settings.instance_types} & set(self._quota_gone)
        if gone:
            error = self._quota_gone[min(gone)]
            return Problem(errors.QUOTA, f"{error.code}: {error.message}. {errors.ADVICE[errors.QUOTA]}")
        said = f" {last.code}: {last.message}." if last else ""
        subnets = batch.spec.settings.subnet_ids
        full = [subnet for subnet in subnets if self._memory.blocks(Candidate(ANY_TYPE, subnet))]
        rest = [subnet for subnet in subnets if subnet not in full]
        addresses = f"no free addresses in {', '.join(full)}. {errors.ADVICE[errors.SUBNET_FULL]}" if full else ""
        if not rest:
            return Problem(errors.SUBNET_FULL, addresses)
        capacity = f"no capacity for {tried} in {', '.join(rest)}.{said} {errors.ADVICE[errors.CAPACITY]}"
        return Problem(errors.CAPACITY, f"{addresses} Also, {capacity}" if full else capacity)

    def _fail(self, servers: Sequence[Server], problem: Problem, result: Launched) -> None:
        with self._lock:
            for server in servers:
                result.problems[server.name] = problem
