# SPDX-License-Identifier: GPL-3.0-or-later
"""The state as Prometheus metrics, made when they are asked for, so that the hot path keeps plain integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

from ..protocol import CHANNELS
from .health import judge
from .histogram import Histogram
from .samples import Sampler
from .state import Phase, State

PREFIX = "alpaca_websocket_"
_BOUNDS = [round(base * 10**power) for power in range(5, 10) for base in (1, 2.5, 5)] + [10**10, 6 * 10**10]  # ns
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def registry(state: State, sampler: Sampler) -> CollectorRegistry:
    """A registry of its own, with the process's figures."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(StateCollector(state, sampler))
    return made


def _counter(name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _level(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _histogram(name: str, text: str, recorded: Histogram) -> Metric:
    buckets = [(str(bound / 1e9), count) for bound, count in zip(_BOUNDS, recorded.cumulative(_BOUNDS), strict=True)]
    family = HistogramMetricFamily(PREFIX + name, text)
    family.add_metric([], [*buckets, ("+Inf", recorded.count)], recorded.sum / 1e9)
    return family


class StateCollector(Collector):
    def __init__(self, state: State, sampler: Sampler) -> None:
        self._state = state
        self._sampler = sampler

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(PREFIX + "build", "The running version.", value={"version": self._state.version})
        yield from self._feed()
        yield from self._downstream()
        yield from self._durations()
        yield from self._store()

    def _feed(self) -> Iterator[Metric]:
        state = self._state
        status, _ = judge(state)
        channels = {CHANNELS.get(kind, kind): channel for kind, channel in state.channels.items()}
        yield _level("healthy", "Whether /health answers 200.", status != "failing")
        phases = {phase.value: float(phase is state.phase) for phase in Phase}
        yield _gauge("feed_phase", "1 for what the upstream connection is doing.", phases, "phase")
        received = {name: channel.received for name, channel in channels.items()}
        yield _counter("received_messages", "Messages from upstream.", received, "channel")
        last = {name: channel.last_ns / 1e9 for name, channel in channels.items()}
        yield _gauge("last_message_timestamp_seconds", "When the last message came.", last, "channel")
        yield _total("received_frames", "WebSocket frames from upstream.", state.frames_in)
        yield _total("received_bytes", "Bytes from upstream.", state.bytes_in)
        yield _total("malformed", "What came from upstream and was not of the protocol.", state.malformed)
        yield _counter("reconnects", "Connections to upstream lost or refused.", state.reconnects, "reason")
        errors = {str(code): count for code, count in state.upstream_errors.items()}
        yield _counter("upstream_errors", "Errors that upstream sent.", errors, "code")
        yield _total("gaps", "Times without the feed.", state.gap_count)
        backfilled = {CHANNELS.get(kind, kind): count for kind, count in state.backfilled.items()}
        yield _counter("backfilled_messages", "Messages fetched over REST after a gap.", backfilled, "channel")
        wanted = {channel: len(symbols) for channel, symbols in state.upstream_subscriptions.items()}
        yield _gauge("upstream_symbols", "Symbols subscribed upstream.", wanted, "channel")
        alerts = {name: 1.0 for name in state.alerts}
        yield _gauge("alert", "1 while a condition that needs a person lasts.", alerts, "name")

    def _downstream(self) -> Iterator[Metric]:
        state = self._state
        clients = list(state.clients.values())
        buffered = [client.buffered for client in clients]
        yield _level("clients", "Connected clients.", len(clients))
        yield _total("client_connections", "Client connections ever.", state.clients_total)
        yield _total("clients_cut", "Clients cut because they were too slow.", state.clients_cut)
        yield _level(
            "clients_slow", "Clients that were told 407 and are still connected.", sum(c.slow for c in clients)
        )
        yield _level("client_buffer_bytes", "Bytes waiting for clients, all together.", sum(buffered))
        yield _level("client_buffer_highest_bytes", "Bytes waiting for the slowest client.", max(buffered, default=0))
        yield _total("delivered_messages", "Messages written to clients.", state.delivered)
        yield _total("delivered_bytes", "Bytes written to clients.", state.bytes_out)
        errors = {str(code): count for code, count in state.client_errors.items()}
        yield _counter("client_errors", "Errors sent to clients.", errors, "code")
        yield _counter("dropped_messages", "Messages given up.", state.dropped, "reason")

    def _durations(self) -> Iterator[Metric]:
        state = self._state
        yield _histogram("feed_lag_seconds", "Exchange time stamp to receipt.", state.feed_lag)
        yield _histogram("relay_lag_seconds", "Receipt to the write to clients' sockets.", state.relay_lag)
        yield _histogram("durable_lag_seconds", "Receipt to fsync.", state.durable_lag)
        lags = GaugeMetricFamily(
            PREFIX + "lag_recent_seconds", "Percentiles of the last minute.", labels=["stage", "quantile"]
        )
        for stage, recorded in self._sampler.lags().items():
            for quantile, value in zip(_QUANTILES, recorded.percentiles(_QUANTILES), strict=True):
                lags.add_metric([stage, str(quantile)], value / 1e9)
        yield lags

    def _store(self) -> Iterator[Metric]:
        """Every number of the store's statistics under its own name; a mapping of numbers gets the label `key`."""
        if self._state.store is None:
            return
        for name, value in msgspec.to_builtins(self._state.store(), enc_hook=str).items():
            text = f"The store's {name.replace('_', ' ')}."
            if isinstance(value, bool | int | float):
                yield _level(f"store_{name}", text, value)
            elif isinstance(value, dict) and value and all(isinstance(each, int | float) for each in value.values()):
                yield _gauge(f"store_{name}", text, {str(key): each for key, each in value.items()}, "key")
