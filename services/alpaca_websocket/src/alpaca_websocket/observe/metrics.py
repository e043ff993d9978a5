# SPDX-License-Identifier: GPL-3.0-or-later
"""The state as Prometheus metrics, made when they are asked for, so that the hot path keeps plain integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .. import __version__
from ..protocol import CHANNELS
from .health import judge
from .histogram import Histogram
from .samples import Sampler
from .state import Arrivals, Phase

PREFIX = "alpaca_websocket_"
_BOUNDS = [round(base * 10**power) for power in range(5, 10) for base in (1, 2.5, 5)] + [10**10, 6 * 10**10]  # ns
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def registry(samplers: Mapping[str, Sampler], arrivals: Arrivals) -> CollectorRegistry:
    """A registry of its own, with the process's figures.

    :param samplers: by feed
    """
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(StateCollector([_Feed(name, sampler) for name, sampler in samplers.items()], arrivals))
    return made


class StateCollector(Collector):
    """Every metric once, with the samples of all feeds."""

    def __init__(self, feeds: Sequence[_Feed], arrivals: Arrivals) -> None:
        self._feeds, self._arrivals = feeds, arrivals

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(PREFIX + "build", "The running version.", value={"version": __version__})
        arrivals = self._arrivals
        levels = {"unauthenticated": arrivals.unauthenticated, "waiting": arrivals.waiting, "client": arrivals.clients}
        connections = GaugeMetricFamily(PREFIX + "connections", "Open connections of all feeds.", labels=["state"])
        for state, count in levels.items():
            connections.add_metric([state], count)
        yield connections
        away = CounterMetricFamily(
            PREFIX + "turned_away", "Connections closed before they authenticated.", labels=["reason"]
        )
        for reason, count in list(arrivals.turned_away.items()):
            away.add_metric([reason], count)
        yield away
        families: dict[str, Metric] = {}
        for feed in self._feeds:
            for family in feed.collect():
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples += family.samples
        yield from families.values()


class _Feed:
    """One feed's metrics, each with the label `feed`."""

    def __init__(self, name: str, sampler: Sampler) -> None:
        self._name, self._sampler, self._state = name, sampler, sampler.state

    def collect(self) -> Iterator[Metric]:
        yield from self._feed()
        yield from self._downstream()
        yield from self._durations()
        yield from self._store()

    def _counter(self, name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
        family = CounterMetricFamily(PREFIX + name, text, labels=["feed", label])
        for key, value in values.items():
            family.add_metric([self._name, key], value)
        return family

    def _gauge(self, name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
        family = GaugeMetricFamily(PREFIX + name, text, labels=["feed", label])
        for key, value in values.items():
            family.add_metric([self._name, key], value)
        return family

    def _total(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(PREFIX + name, text, labels=["feed"])
        family.add_metric([self._name], value)
        return family

    def _level(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(PREFIX + name, text, labels=["feed"])
        family.add_metric([self._name], value)
        return family

    def _histogram(self, name: str, text: str, recorded: Histogram) -> Metric:
        counts = zip(_BOUNDS, recorded.cumulative(_BOUNDS), strict=True)
        buckets = [(str(bound / 1e9), count) for bound, count in counts]
        family = HistogramMetricFamily(PREFIX + name, text, labels=["feed"])
        family.add_metric([self._name], [*buckets, ("+Inf", recorded.count)], recorded.sum / 1e9)
        return family

    def _feed(self) -> Iterator[Metric]:
        state = self._state
        status, _ = judge(state)
        channels = {CHANNELS.get(kind, kind): channel for kind, channel in state.channels.items()}
        yield self._level("healthy", "Whether /health?feed=… answers 200.", status != "failing")
        phases = {phase.value: float(phase is state.phase) for phase in Phase}
        yield self._gauge("feed_phase", "1 for what the upstream connection is doing.", phases, "phase")
        received = {name: channel.received for name, channel in channels.items()}
        yield self._counter("received_messages", "Messages from upstream.", received, "channel")
        last = {name: channel.last_ns / 1e9 for name, channel in channels.items()}
        yield self._gauge("last_message_timestamp_seconds", "When the last message came.", last, "channel")
        yield self._total("received_frames", "WebSocket frames from upstream.", state.frames_in)
        yield self._total("received_bytes", "Bytes from upstream.", state.bytes_in)
        yield self._total("malformed", "What came from upstream and was not of the protocol.", state.malformed)
        yield self._total("repaired", "Messages in which invalid UTF-8 was replaced.", state.repaired)
        yield self._counter("reconnects", "Connections to upstream lost or refused.", state.reconnects, "reason")
        errors = {str(code): count for code, count in state.upstream_errors.items()}
        yield self._counter("upstream_errors", "Errors that upstream sent.", errors, "code")
        yield self._total("gaps", "Times without the feed.", state.gap_count)
        backfilled = {CHANNELS.get(kind, kind): count for kind, count in state.backfilled.items()}
        yield self._counter("backfilled_messages", "Messages fetched over REST after a gap.", backfilled, "channel")
        wanted = {channel: len(symbols) for channel, symbols in state.upstream_subscriptions.items()}
        yield self._gauge("upstream_symbols", "Symbols subscribed upstream.", wanted, "channel")
        alerts = {name: 1.0 for name in state.alerts}
        yield self._gauge("alert", "1 while a condition that needs a person lasts.", alerts, "name")

    def _downstream(self) -> Iterator[Metric]:
        state = self._state
        clients = list(state.clients.values())
        buffered = [client.buffered for client in clients]
        yield self._level("clients", "Connected clients.", len(clients))
        yield self._total("client_connections", "Client connections ever.", state.clients_total)
        yield self._total("clients_cut", "Clients cut because they were too slow.", state.clients_cut)
        yield self._level(
            "clients_slow", "Clients that were told 407 and are still connected.", sum(c.slow for c in clients)
        )
        yield self._level("client_buffer_bytes", "Bytes waiting for clients, all together.", sum(buffered))
        yield self._level(
            "client_buffer_highest_bytes", "Bytes waiting for the slowest client.", max(buffered, default=0)
        )
        yield self._total("delivered_messages", "Messages written to clients.", state.delivered)
        yield self._total("delivered_bytes", "Bytes written to clients.", state.bytes_out)
        errors = {str(code): count for code, count in state.client_errors.items()}
        yield self._counter("client_errors", "Errors sent to clients.", errors, "code")
        yield self._counter("dropped_messages", "Messages given up.", state.dropped, "reason")

    def _durations(self) -> Iterator[Metric]:
        state = self._state
        yield self._histogram("feed_lag_seconds", "Exchange time stamp to receipt.", state.feed_lag)
        yield self._histogram("relay_lag_seconds", "Receipt to the write to clients' sockets.", state.relay_lag)
        yield self._histogram("durable_lag_seconds", "Receipt to fsync.", state.durable_lag)
        lags = GaugeMetricFamily(
            PREFIX + "lag_recent_seconds", "Percentiles of the last minute.", labels=["feed", "stage", "quantile"]
        )
        for stage, recorded in self._sampler.lags().items():
            for quantile, value in zip(_QUANTILES, recorded.percentiles(_QUANTILES), strict=True):
                lags.add_metric([self._name, stage, str(quantile)], value / 1e9)
        yield lags

    def _store(self) -> Iterator[Metric]:
        """Every number of the store's statistics under its own name, the worker's after `worker_`; a mapping of numbers
        gets the label `key`, and an error in words is 1 while it lasts."""
        if self._state.store is not None:
            yield from self._figures("store", msgspec.to_builtins(self._state.store(), enc_hook=str))

    def _figures(self, prefix: str, figures: Mapping[str, Any]) -> Iterator[Metric]:
        for key, value in figures.items():
            name = f"{prefix}_{key}"
            text = f"The store's {name.partition('_')[2].replace('_', ' ')}."
            if isinstance(value, bool | int | float):
                yield self._level(name, text, value)
            elif isinstance(value, str) and key.endswith("error"):
                yield self._level(name, f"Whether there is one: {text}", bool(value))
            elif isinstance(value, dict) and value and all(isinstance(each, int | float) for each in value.values()):
                yield self._gauge(name, text, {str(each): number for each, number in value.items()}, "key")
            elif isinstance(value, dict) and key == "worker":
                yield from self._figures(name, value)
