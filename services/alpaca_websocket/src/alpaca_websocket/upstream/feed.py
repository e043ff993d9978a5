# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the one connection: connects, authenticates, subscribes, watches, and comes back when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from .. import protocol
from ..observe.state import FILLED, Gap, GapChannel, Phase, State
from ..protocol import BACKFILLED, KINDS, Messages, ProtocolError
from ..settings import Credentials, SettingsError, Upstream
from . import link as links
from .calendar import Calendar
from .gaps import Filler, kept_kinds
from .link import Link, LinkError
from .policy import Act, Backoff, Decision, on_error
from .position import Position
from .recent import Recent
from .silence import Silence, Verdict
from .subscriptions import Channels, Lingering, Subscriptions, uncovered
from .trading_link import TradingLink

_log = logging.getLogger(__name__)
_TIME = b'"t":"'
_TICK_SECONDS = 0.5
_DEBOUNCE_SECONDS = 0.02
_LONGEST_TEXT = 200  # characters of what the upstream says that are shown
_MEASURE_NS = 1_000_000  # between two measurements of how old messages are

# Messages, when they were received, and whether they were fetched after a gap.
Sink = Callable[[Messages, int, bool], None]


class UpstreamGap(msgspec.Struct):
    """What a server of ours tells who asked for what is backfilled; see `downstream.server`."""

    began: str
    ended: str
    reason: str
    channels: dict[str, str]


class _Ended(Exception):
    """This connection is over."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


class Feed:
    """
    :param wanted: the union of what the clients ask for
    :param sink: takes every message, live or backfilled
    :param on_refused: told what the upstream has no room for, after it has changed
    """

    def __init__(
        self,
        settings: Upstream,
        state: State,
        calendar: Calendar,
        credentials: Callable[[], Awaitable[Credentials]],
        wanted: Callable[[], Mapping[str, Set[str]]],
        sink: Sink,
        on_refused: Callable[[Channels], None] = lambda _refused: None,
    ) -> None:
        self._settings, self._state, self._calendar = settings, state, calendar
        self._credentials, self._wanted, self._sink, self._on_refused = credentials, wanted, sink, on_refused
        self._subscriptions = Subscriptions()
        self._backoff = Backoff(settings.backoff_seconds, settings.backoff_max_seconds)
        self._silence = Silence(settings.silence)
        self._recent = Recent(kept_kinds(settings))
        self._filler = Filler(settings, state, self._recent, self._take)
        self._chained = settings.backfill.source == "replay"  # the upstream is a server of ours
        self._link: Link | None = None
        self._make_link = TradingLink if settings.endpoint.trading else Link
        self._control: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()  # a control message, or the end
        self._reload = asyncio.Event()
        self._measured_ns = 0
        self._lingering = Lingering(settings.linger_seconds)
        self._change: asyncio.TimerHandle | None = None
        self._subscribed_ns = 0
        self._since: dict[str, int] = {}  # channel → since when it is what it is
        self._held: dict[str, dict[str, int]] = {}  # channel → symbol → since when it is subscribed
        self._resumes_ns = 0
        self._known_from_ns = 0  # of what an earlier process stored, all that came since then is known
        self._named: tuple[Channels | None, dict[str, list[str]]] = (None, {})  # what is wanted, sorted
        self._seen: list[str] = []
        self._ranked = 0
        self._asked_ns = 0  # when the request under way was sent
        self._asked_at = 0.0
        self._silent: Verdict | None = None

    # From outside

    def changed(self) -> None:
        """What the clients ask for is not what it was."""
        if self._change is None:
            self._change = asyncio.get_running_loop().call_later(_DEBOUNCE_SECONDS, self._resubscribe)

    def reload(self) -> None:
        """Try again at once, with keys read anew; ends a halt."""
        self._reload.set()

    def remember(self, stored: Iterable[tuple[int, Messages]], since_ns: int) -> None:
        """What was stored last, with the time of its arrival: all of it since `since_ns`."""
        for received_ns, messages in stored:
            self._recent.add(messages, received_ns)
        self._recent.forget_before(since_ns)
        self._known_from_ns = since_ns

    def resume(self, position: Position, reason: str, *, own: bool) -> None:
        """Nobody was there since this position: a gap. What was subscribed then is subscribed again, for a while.

        So is what the settings always subscribe: a process killed within its first second wrote no subscriptions down.
        A symbol that had fallen silent before that is missing since its own last message, as far as is known what came.

        :param own: the position is that of this host's store, of which `remember` was told
        """
        known = {
            name: sorted({*position.subscriptions.get(name, ()), *self._settings.subscribe.get(name, ())})
            for name in self._settings.endpoint.channels
            if name in position.subscriptions or self._settings.subscribe.get(name)
        }
        held = {name: dict.fromkeys(each, self._whole_until(position, name, own)) for name, each in known.items()}
        gap = self._state.open_gap(reason, position.earliest_ns)
        self._filler.opened(gap, held, position.symbols, position.unfilled)
        self._subscriptions.want(known)
        self._seen = position.symbols

    def _whole_until(self, position: Position, channel: str, own: bool) -> int:
        """Up to when nothing of any symbol of a channel was missing."""
        last, since = position.last.get(channel, position.at_ns), position.since.get(channel, 0)
        known = own and self._known_from_ns and since and KINDS[channel] in kept_kinds(self._settings)
        return min(last, max(since, self._known_from_ns)) if known else last

    def resume_from(self, last_ns: int) -> None:
        """The process was not running since the last stored message came, and nobody wrote down what was subscribed."""
        self._resumes_ns = last_ns
        self._state.open_gap("the server was not running", last_ns)

    def position(self) -> Position:
        """Up to where all is received."""
        last = {}
        for name, held in self._held.items():
            kind = KINDS[name]
            channel = self._state.channels.get(kind)
            came = channel.last_ns - self._recent.lag_ns(kind) if channel else 0
            if held:
                last[name] = max(came, next(iter(held.values())))  # the first of them was subscribed first
        unfilled = self._filler.unfilled()
        return Position(
            at_ns=time.time_ns(),
            last={**unfilled, **last},
            since={name: max(held.values()) for name, held in self._held.items() if held},
            unfilled=unfilled,
            subscriptions=self._wanted_names(),
            symbols=self._seen_names(),
            host=socket.gethostname(),
            losses=[*self._state.losses.items],
            known_ns=self._state.losses.known_ns,
        )

    def _wanted_names(self) -> dict[str, list[str]]:
        wanted = self._subscriptions.wanted
        if self._named[0] is not wanted:
            self._named = wanted, {name: sorted(symbols) for name, symbols in wanted.items()}
        return self._named[1]

    def _seen_names(self) -> list[str]:
        """What `*` stands for; ranked anew when there are more of them."""
        seen = self._state.symbols
        if len(seen) > self._ranked and any("*" in symbols for symbols in self._subscriptions.wanted.values()):
            most, self._ranked = self._settings.backfill.max_symbols, len(seen)
            names = dict.fromkeys((*(name for name, _count in seen.most_common(most)), *self._seen))
            self._seen = list(names)[:most]
        return self._seen

    async def run(self) -> None:
        """Until cancelled."""
        if self._held or self._filler.asks_upstream:
            self._lost("a mistake in the server")  # it was running before
        try:
            while True:
                decision, lasted = await self._attempt()
                await self._pause(decision, lasted)
        finally:
            self._drop_link()
            await self._filler.stop()

    # One connection after the other

    async def _attempt(self) -> tuple[Decision, float]:
        """Connects and stays until it is over. Returns why it was, and for how many seconds it streamed."""
        streaming_since = 0.0
        self._control.clear()
        self._subscriptions.begin()
        self._subscribed_ns, self._since = 0, {}
        try:
            credentials = await self._credentials()
            self._state.enter(Phase.CONNECTING, self._settings.url)
            self._link = await links.connect(self._settings, self._on_payload, self._make_link)
            self._link.closed.add_done_callback(lambda _closed: self._news.set())
            await self._greet(credentials)
            streaming_since = time.monotonic()
            self._state.enter(Phase.STREAMING)
            self._state.clear("upstream")
            _log.info("streaming", extra={"url": self._settings.url})
            await self._stream(credentials)
        except SettingsError as error:
            # Nobody is bothered by our looking for them again.
            decision = Decision(Act.BACK_OFF, str(error))
            self._state.alert("upstream", str(error))
        except (LinkError, _Ended) as error:
            decision = error.decision
        finally:
            self._drop_link()
        return decision, time.monotonic() - streaming_since if streaming_since else 0.0

    async def _pause(self, decision: Decision, lasted: float) -> None:
        if lasted:
            self._lost(decision.reason)
        if lasted >= self._settings.stable_seconds:
            self._backoff.reset()
        self._state.reconnects[decision.act.value if self._silent is None else "silent"] += 1
        if self._silent is not None:
            self._silence.reconnected(self._silent)
            self._silent = None
        _log.warning("no feed", extra={"reason": decision.reason, "act": decision.act.value, "lasted": round(lasted)})
        self._reload.clear()
        if decision.act is Act.HALT:
            self._state.enter(Phase.HALTED, decision.reason)
            self._state.alert("upstream", decision.reason)
            await self._reload.wait()
            return
        if decision.act is Act.WAIT:
            seconds = self._backoff.jittered(self._settings.half_open_seconds)
        else:
            seconds = self._backoff.after(decision.act)
        if self._backoff.failures > 3 or decision.act is Act.WAIT:
            self._state.alert("upstream", f"no feed: {decision.reason}")
        self._state.enter(Phase.WAITING, f"{decision.reason}; again in {seconds:.1f} s")
        try:
            async with asyncio.timeout(seconds):
                await self._reload.wait()
        except TimeoutError:
            pass

    def _lost(self, reason: str) -> None:
        """The feed is interrupted since the last message that came."""
        gap = self._state.open_gap(reason, max(self._state.last_message_ns, self._subscribed_ns))
        self._filler.opened(gap, self._held)
        self._held = {}

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    async def _greet(self, credentials: Credentials) -> None:
        await self._expect("connected")
        self._state.enter(Phase.AUTHENTICATING)
        assert self._link is not None
        self._link.send({"action": "auth", "key": credentials.key_id, "secret": credentials.secret_key})
        await self._expect("authenticated")

    async def _expect(self, text: str) -> None:
        """Waits for this success; an error on the way ends the attempt, unless it is harmless."""
        give_up = time.monotonic() + self._settings.reply_timeout
        while (left := give_up - time.monotonic()) > 0:
            message = await self._next_control(left)
            if message is None:
                continue
            if message.get("T") == "error":
                self._judge(message)
            elif message.get("msg") == text:
                return
        raise _Ended(Decision(Act.BACK_OFF, f"no {text!r} in time"))

    async def _next_control(self, seconds: float) -> dict[str, Any] | None:
        """The next control message, or None after that time; raises at the end of the connection."""
        assert self._link is not None
        if not self._control and not self._link.closed.done():
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        if self._control:
            return self._control.popleft()
        if self._link.closed.done():
            raise _Ended(Decision(Act.RECONNECT, self._link.closed.result()))
        return None

    async def _stream(self, credentials: Credentials) -> None:
        self._resubscribe()
        watched = 0.0
        while True:
            message = await self._next_control(_TICK_SECONDS)
            if time.monotonic() - watched >= _TICK_SECONDS:
                watched = time.monotonic()
                self._watch()
            if message is not None:
                self._on_control(message)
            if (message is not None or self._filler.waits) and self._subscriptions.settled:
                now = time.time_ns()
                self._subscribed_ns = self._subscribed_ns or now
                if self._resumes_ns:
                    held = {name: dict.fromkeys(each, self._resumes_ns) for name, each in self._held.items()}
                    self._filler.opened(self._state.open_gap(""), held)
                    self._resumes_ns = 0
                self._filler.resumed(now, credentials, self._link)

    def _on_control(self, message: Mapping[str, Any]) -> None:
        kind = message.get("T")
        if kind == "subscription":
            self._on_subscription(message)
        elif kind == "error":
            self._on_error(message)
        elif self._chained and message.get("msg") == "gap":
            self._on_upstream_gap(message)
        self._ask()

    def _on_upstream_gap(self, message: Mapping[str, Any]) -> None:
        """The first level was without its feed while this connection stood: what it lacks is missing here as well."""
        try:
            told = msgspec.convert(message, UpstreamGap)
            began, ended = protocol.time_ns(told.began), protocol.time_ns(told.ended)
        except (msgspec.ValidationError, ValueError, ProtocolError) as error:
            self._state.malformed += 1
            _log.warning("an upstream's gap that cannot be read", extra={"problem": str(error)[:_LONGEST_TEXT]})
            return
        results = {
            name: FILLED if result == FILLED else f"the upstream says: {result[:_LONGEST_TEXT]}"
            for name, result in told.channels.items()
            if self._held.get(name)
        }
        if results:
            gap = Gap(began, f"the upstream was without its feed: {told.reason[:_LONGEST_TEXT]}", ended)
            gap.channels = {
                name: GapChannel(began, len(self._held[name]), result=result) for name, result in results.items()
            }
            self._state.add_gap(gap)
            self._state.settle(gap, results)

    def _on_subscription(self, message: Mapping[str, Any]) -> None:
        before = self._subscriptions.confirmed
        self._subscriptions.answered(message)
        confirmed, now = self._subscriptions.confirmed, self._state.clock()
        # What has changed is given its whole time to speak.
        self._since = {
            name: self._since.get(name, now) if before.get(name) == symbols else now
            for name, symbols in confirmed.items()
        }
        self._state.upstream_subscriptions = {name: sorted(symbols) for name, symbols in confirmed.items()}
        self._hold(before)

    def _hold(self, before: Channels) -> None:
        """Since when each symbol is subscribed; what fell between two requests is a gap of its own."""
        confirmed, now = self._subscriptions.confirmed, time.time_ns()
        lost = uncovered(before, confirmed, self._subscriptions.wanted)
        if lost:
            text = "; ".join(f"{name} {' '.join(sorted(symbols)[:10])}" for name, symbols in lost.items())
            gap = self._state.open_gap(f"not subscribed while the subscription changed: {text}", self._asked_ns)
            again: dict[str, dict[str, int]] = {}
            for name, symbols in lost.items():
                since = self._held.get(name, {})
                again[name] = {each: since.get(each) or since.get("*") or self._asked_ns for each in symbols}
            self._filler.opened(gap, again)
        for name in confirmed.keys() | self._held.keys():
            held, symbols = self._held.setdefault(name, {}), confirmed.get(name, set())
            for symbol in symbols - held.keys():
                held[symbol] = now
            for symbol in held.keys() - symbols:
                del held[symbol]

    def _watch(self) -> None:
        """Every half second: what nothing else would tell."""
        asked = self._subscriptions.waits
        if asked and time.monotonic() - self._asked_at > self._settings.reply_timeout:
            raise _Ended(Decision(Act.BACK_OFF, "no answer to a subscription"))
        if self._lingering.over(time.monotonic()):
            self._resubscribe()
        now = self._state.clock()
        session = self._calendar.at(now)
        self._state.session_open = session is not None
        if not self._subscribed_ns:
            return
        last = {kind: channel.last_ns for kind, channel in self._state.channels.items()}
        verdict = self._silence.judge(now, session, self._since, last)
        if verdict is not None:
            self._silent = verdict
            text = f"no {verdict.channel} for {verdict.seconds:.0f} s while the exchange is open"
            self._state.enter(Phase.SILENT, text)
            raise _Ended(Decision(Act.RECONNECT, text))

    # What comes in

    def _on_payload(self, payload: bytes, msgpack: bool, now: int) -> None:
        """On the hot path: one WebSocket message."""
        try:
            frame = protocol.split_msgpack(payload) if msgpack else protocol.split(payload)
        except ProtocolError as error:
            self._state.malformed += 1
            _log.warning("an invalid frame", extra={"problem": str(error)[:_LONGEST_TEXT]})
            return
        if frame.malformed:
            self._state.malformed += frame.malformed
        if frame.repaired:
            self._state.repaired += frame.repaired
            self._state.note(f"invalid UTF-8 was replaced in {frame.repaired} messages")
        for message in frame.control:
            self._filler.told(message)
            self._control.append(message)
            self._news.set()
        data, backfilled = frame.data, self._filler.replaying
        if data and backfilled:
            data = self._filler.sift(data)  # which may leave nothing
        if data:
            self._state.received(data, len(payload), now)
            if self._chained and not backfilled and BACKFILLED in data.text:
                # The first level fetched them after a gap of its own: to our clients, too, they are not live.
                late = [one for one in data if one.raw.endswith(BACKFILLED)]
                data = Messages.of(one for one in data if not one.raw.endswith(BACKFILLED))
                self._take(Messages.of(late), now, True)
        if data:
            self._measure(data, now)
            self._take(data, now, backfilled)

    def _measure(self, messages: Messages, now: int) -> None:
        """Records how old the last message of a frame is, of some frames, when there are many; not for bars, which
        carry the time of their beginning."""
        if now - self._measured_ns < _MEASURE_NS:
            return
        self._measured_ns = now
        raw = messages.raws[-1]
        if messages.pairs[-1][0] in "tq" and (at := raw.find(_TIME)) > 0:
            begin = at + len(_TIME)
            try:
                moment = protocol.time_ns(raw[begin : raw.index(b'"', begin)].decode())
            except ValueError:
                return
            self._state.feed_lag.record(max(0, now - moment), len(messages))

    def _take(self, messages: Messages, now: int, backfilled: bool) -> None:
        self._recent.add(messages, now)
        self._filler.watch(messages)
        self._state.trading.take(messages)
        self._sink(messages, now, backfilled)

    def _judge(self, message: Mapping[str, Any]) -> None:
        """Counts an error and ends the connection if that is what follows from it."""
        code = message.get("code")
        code = code if isinstance(code, int) else 500
        self._state.upstream_errors[code] += 1
        decision = on_error(code, str(message.get("msg", ""))[:_LONGEST_TEXT])
        _log.error("the upstream reports an error", extra={"code": code, "problem": decision.reason})
        if decision.act is not Act.CARRY_ON:
            raise _Ended(decision)
        self._state.note(f"upstream error {decision.reason}")

    def _on_error(self, message: Mapping[str, Any]) -> None:
        code = message.get("code")
        asked = self._subscriptions.waits
        if asked is not None and code == 405:
            self._state.upstream_errors[405] += 1
            self._subscriptions.limited()
        elif asked is not None and code in (400, 409, 410, 413) and not self._is_required(asked.channels):
            # What one client wants must not cost all others the feed.
            self._state.upstream_errors[code] += 1
            self._subscriptions.rejected()
        else:
            self._judge(message)
            if asked is not None and code in (400, 410, 413):
                self._subscriptions.rejected()
        self._refusals()

    def _is_required(self, channels: Mapping[str, Sequence[str]]) -> bool:
        required = self._settings.subscribe
        return any(set(symbols) & set(required.get(name, ())) for name, symbols in channels.items())

    def _refusals(self) -> None:
        refused = {name: set(symbols) for name, symbols in self._subscriptions.refused.items() if symbols}
        listed = {name: sorted(symbols) for name, symbols in refused.items()}
        if listed == self._state.upstream_dropped:
            return
        self._state.upstream_dropped = listed
        if listed:
            text = "; ".join(f"{name} {' '.join(symbols)}" for name, symbols in listed.items())
            self._state.note(f"the upstream has no room for {text}")
            self._on_refused(refused)
        # A client's wish that is not met degrades; what the settings require, and is not there, is a failure.
        if self._is_required(listed):
            self._state.alert("subscriptions", "the upstream has no room for all that the settings require")
        else:
            self._state.clear("subscriptions")

    # What is asked

    def _resubscribe(self) -> None:
        if self._change is not None:
            self._change.cancel()
            self._change = None
        self._subscriptions.want(self._union())
        if self._link is not None and self._state.phase is Phase.STREAMING:
            self._ask()

    def _union(self) -> Channels:
        """What the settings and the clients want, and for a while what clients no longer want."""
        union: Channels = {}
        for source in (self._settings.subscribe, self._wanted()):
            for name, symbols in source.items():
                if name in KINDS:
                    union.setdefault(name, set()).update(symbols)
        return self._lingering.add(union, self._subscriptions.wanted, time.monotonic())

    def _ask(self) -> None:
        ask = self._subscriptions.next()
        if ask is not None and self._link is not None:
            self._asked_at, self._asked_ns = time.monotonic(), time.time_ns()
            asked = ask.message()
            if self._chained and ask.action == "subscribe":
                asked["backfilled"] = True  # a server of ours tells what it had to fetch only where it is asked to
            self._link.send(asked)
        self._refusals()
