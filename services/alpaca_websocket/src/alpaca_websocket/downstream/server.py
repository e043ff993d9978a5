# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's protocol as a server: who is let in, what is asked, what is answered."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial

from picows import WSListener, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

from ..observe.state import Arrivals, Client, Gap
from ..protocol import (
    FOLLOWS_TRADES,
    KINDS,
    LONGEST_SYMBOL,
    Message,
    Pair,
    ProtocolError,
    Request,
    mark_snapshot,
    rfc3339,
    time_ns,
)
from ..settings import Downstream
from ..websocket import negotiate
from .auth import Token, Tokens
from .connection import Connection
from .door import Door, Place
from .replay import Since, send_messages
from .replays import Asked, Replays
from .served import Served
from .subscription import EVERYTHING, Subscription
from .trading import TradingConnection
from .turns import Turns
from .wire import Wire

_log = logging.getLogger(__name__)
# So many errors within a while, and the connection is closed; of who has not authenticated, fewer.
_REFUSED_MOST = 20
_REFUSED_EARLY = 5
_REFUSED_WITHIN = 60.0
_SNAPSHOT_MOST = 500  # symbols
_LONGEST_NUMBER = 19  # digits of a sequence number


class _Session:
    """What is known of one connection beyond its bytes."""

    __slots__ = (
        "asked_backfilled",
        "errors",
        "errors_until",
        "feed",
        "place",
        "replaying",
        "reply",
        "subscription",
        "timer",
        "token",
    )

    def __init__(self, feed: Served, place: Place) -> None:
        self.feed, self.place = feed, place
        self.token: Token | None = None
        self.subscription = Subscription()
        self.reply: list[tuple[bytes, bool]] = []  # what the last change was answered
        self.asked_backfilled = False  # in so many words, and not by the settings
        self.replaying: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.errors = 0
        self.errors_until = 0.0


class Server:
    """Listens, and keeps the sessions.

    :param feeds: the path that clients ask for → what they get there
    :param alert: raises ("…") or ends ("") the condition that no client is admitted
    """

    def __init__(
        self,
        settings: Downstream,
        tokens: Tokens,
        feeds: Mapping[str, Served],
        arrivals: Arrivals,
        alert: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._settings, self._tokens, self._feeds, self._arrivals = settings, tokens, feeds, arrivals
        self._sessions: dict[Connection, _Session] = {}
        self._by_token: Counter[tuple[str, str]] = Counter()  # feed's name, key: connections
        self._symbols: Counter[tuple[str, str]] = Counter()  # the same: symbols of all its connections
        self._numbers = itertools.count(1)
        self._replays = Replays()
        self._turns = Turns()
        self._door = Door(settings, self._make, arrivals, alert)
        self._listening = False
        for feed in feeds.values():
            feed.state.on_settled = partial(self._tell_gap, feed)

    async def start(self) -> int:
        """Listens from now on; returns the port."""
        context = None
        if self._settings.tls_certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._settings.tls_certificate, self._settings.tls_key)
        port = await self._door.open(context)
        self._listening = True
        return port

    async def stop(self, seconds: float = 2.0) -> None:
        """Sends what is queued, closes every connection with 1001 and waits that long for them to go."""
        if not self._listening:
            return
        self._listening = False
        self._door.close()
        for feed in self._feeds.values():
            feed.router.flush()
        for connection in list(self._sessions):
            connection.end(1001, "the server stops; come back")
        give_up = asyncio.get_running_loop().time() + seconds
        while self._sessions and asyncio.get_running_loop().time() < give_up:
            await asyncio.sleep(0.01)
        for connection in list(self._sessions):
            connection.end(1001, "", at_once=True)

    def warn(self, path: str, dropped: Mapping[str, set[str]]) -> None:
        """Tells the clients concerned that the upstream of this path refuses these symbols."""
        for connection, session in self._sessions.items():
            if session.feed is not self._feeds[path]:
                continue
            channels = session.subscription.channels
            mine = {name: sorted(channels.get(name, set()) & symbols) for name, symbols in dropped.items()}
            text = ", ".join(f"{name} {' '.join(symbols)}" for name, symbols in mine.items() if symbols)
            if text:
                connection.refuse(405, f"upstream has no room for {text}")

    def _tell_gap(self, feed: Served, gap: Gap, results: Mapping[str, str]) -> None:
        """To those who asked for what was fetched after a gap, servers of ours among them: they know when it is all."""
        if feed.endpoint.trading:
            return
        feed.router.flush()
        told = {
            "T": "success", "msg": "gap", "began": rfc3339(gap.began_ns), "ended": rfc3339(gap.ended_ns),
            "reason": gap.reason,
        }  # fmt: skip
        for connection, session in list(self._sessions.items()):
            mine = {name: why for name, why in results.items() if session.subscription.channels.get(name)}
            if session.feed is feed and session.asked_backfilled and mine:
                connection.tell({**told, "channels": mine})

    # Connections

    def _make(self, place: Place) -> asyncio.BaseProtocol:
        return Wire(place, self._settings, self._accept)

    def _accept(self, place: Place, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.partition(b"?")[0].decode("latin-1").rstrip("/")
        feed = self._feeds.get(path)
        if feed is None:
            _log.info("a client asked for a path that is not served", extra={"path": path[:100]})
            return _not_served(path, self._feeds)
        headers = request.headers
        msgpack = headers.get("Content-Type", "").lower().startswith("application/msgpack")
        offers = ", ".join(headers.getall("Sec-WebSocket-Extensions", []))
        compressing = self._settings.compression and not feed.endpoint.trading
        agreed = negotiate(offers) if compressing and offers else None
        view = Client(next(self._numbers), "", feed.state.clock(), format="msgpack" if msgpack else "json")
        view.compressed = agreed is not None
        kind = TradingConnection if feed.endpoint.trading else Connection
        connection = kind(view, feed.state, self._settings, agreed, self._turns, self)
        self._sessions[connection] = _Session(feed, place)
        key, secret = headers.get("APCA-API-KEY-ID", ""), headers.get("APCA-API-SECRET-KEY", "")
        if key or secret:
            connection.offered = key, secret
        if agreed is None:
            return connection
        answer = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Extensions": agreed.header})
        return WSUpgradeResponseWithListener(answer, connection)

    def opened(self, connection: Connection) -> None:
        session = self._sessions[connection]
        connection.tell({"T": "success", "msg": "connected"})
        session.timer = asyncio.get_running_loop().call_later(self._settings.auth_timeout, self._too_late, connection)
        if connection.offered:
            self._authenticate(connection, session, *connection.offered)

    def closed(self, connection: Connection) -> None:
        session = self._sessions.pop(connection, None)
        if session is None:
            return
        if session.timer:
            session.timer.cancel()
        if session.replaying:
            session.replaying.cancel()
        if session.token:
            held = session.feed.name, session.token.key
            self._by_token[held] -= 1
            self._symbols[held] -= session.subscription.size
            session.feed.state.clients.pop(connection.view.id, None)
            _log.info("client gone", extra={"client": session.token.name, "delivered": connection.view.delivered})
        session.feed.router.remove(connection)

    def _too_late(self, connection: Connection) -> None:
        connection.refuse(404)
        connection.end(1008, "auth timeout")

    # Requests

    def handle(self, connection: Connection, request: Request) -> None:
        session = self._sessions.get(connection)
        if session is None:
            return
        try:
            match request.action:
                case "auth":
                    self._authenticate(connection, session, request.key, request.secret)
                case "subscribe" | "unsubscribe" | "replay" if session.token is None:
                    self._refuse(connection, session, 401)
                case "subscribe":
                    self._subscribe(connection, session, request)
                case "unsubscribe":
                    self._unsubscribe(connection, session, request)
                case "replay":
                    self._replay(connection, session, request)
                case _:
                    self._refuse(connection, session, 400)
        except Exception:
            _log.exception("a request failed", extra={"client": connection.view.name, "action": request.action[:20]})
            self._refuse(connection, session, 500)

    def senseless(self, connection: Connection) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            self._refuse(connection, session, 400)

    def _refuse(self, connection: Connection, session: _Session, code: int, detail: str = "") -> None:
        connection.refuse(code, detail)
        now = time.monotonic()
        if now > session.errors_until:
            session.errors, session.errors_until = 0, now + _REFUSED_WITHIN
        session.errors += 1
        if session.errors >= (_REFUSED_MOST if session.token else _REFUSED_EARLY):
            connection.end(1008, "too many errors")

    def _authenticate(self, connection: Connection, session: _Session, key: str, secret: str) -> None:
        if session.token is not None:
            self._refuse(connection, session, 403)
            return
        token = self._tokens.check(key, secret)
        if token is None:
            _log.warning("a client failed to authenticate", extra={"address": connection.view.address})
            connection.refuse(402)
            connection.end(1008, "auth failed")
            return
        state, held = session.feed.state, (session.feed.name, token.key)  # as at Alpaca: so many for each endpoint
        full = self._arrivals.clients >= self._settings.max_connections
        if full or self._by_token[held] >= token.connections:
            connection.refuse(406)
            connection.end(1013 if full else 1008, "connection limit exceeded")
            return
        if session.timer:
            session.timer.cancel()
        session.token = token
        self._by_token[held] += 1
        session.place.admit()
        connection.admit()
        connection.view.name = token.name
        state.clients[connection.view.id] = connection.view
        state.clients_total += 1
        connection.tell({"T": "success", "msg": "authenticated"})
        _log.info(
            "client here", extra={"client": token.name, "feed": session.feed.name, "address": connection.view.address}
        )

    def _subscribe(self, connection: Connection, session: _Session, request: Request) -> None:
        asked = self._asked(connection, session, request)
        if asked is None:
            return
        shown = {symbol: None for symbols in asked.values() for symbol in symbols} if request.snapshot else {}
        if len(shown) > _SNAPSHOT_MOST or EVERYTHING in shown:
            self._refuse(connection, session, 405, f"a snapshot is of at most {_SNAPSHOT_MOST} symbols, and not of *")
            return
        new = session.subscription.missing(asked)
        if new and not self._may_have(session, new):
            self._refuse(connection, session, 405)
            return
        feed = session.feed
        if request.backfilled is not None:
            session.asked_backfilled = request.backfilled
        if request.backfilled is not None and request.backfilled is not connection.backfilled:
            feed.router.flush()  # what waits belongs to the old subscription
            feed.router.remove(connection)
            connection.backfilled = request.backfilled
            feed.router.subscribe(connection, session.subscription.live_from)
        before = session.subscription.size
        added = session.subscription.add(new, feed.head()) if new else []
        self._changed(connection, session, before, added, [])
        if request.snapshot:
            self._show(connection, session, shown)

    def _may_have(self, session: _Session, new: Mapping[str, Collection[str]]) -> bool:
        token, growth = session.token, session.subscription.growth(new)
        assert token is not None
        if token.symbols and not session.feed.endpoint.trading:  # an account's orders are not listed by symbol
            starred = any(EVERYTHING in symbols for symbols in new.values())
            return not starred and session.subscription.size + growth <= token.symbols
        return self._symbols[session.feed.name, token.key] + growth <= self._settings.max_symbols

    def _unsubscribe(self, connection: Connection, session: _Session, request: Request) -> None:
        if request.unknown:
            self._refuse(connection, session, 410)
            return
        before = session.subscription.size
        removed = session.subscription.remove(request.channels())
        self._changed(connection, session, before, [], removed)

    def _changed(
        self, connection: Connection, session: _Session, before: int, added: list[Pair], removed: list[Pair]
    ) -> None:
        """Answers with the whole of the subscription, which is made anew only where something changed."""
        subscription, feed, token = session.subscription, session.feed, session.token
        assert token is not None
        if added or removed:
            feed.router.subscribe(connection, added, removed)
            self._symbols[feed.name, token.key] += subscription.size - before
            connection.view.subscriptions = subscription.channels
            session.reply = []
        if not session.reply:
            listed = subscription.listed(feed.endpoint.channels)
            session.reply = connection.told({"T": "subscription", **listed})
        connection.say(session.reply)

    def _asked(self, connection: Connection, session: _Session, request: Request) -> dict[str, list[str]] | None:
        """The channels of a request, without what comes by itself; None where it was refused."""
        token = session.token
        assert token is not None
        asked = {name: symbols for name, symbols in request.channels().items() if name not in FOLLOWS_TRADES}
        endpoint = session.feed.endpoint
        if request.unknown or not asked.keys() <= set(endpoint.channels):
            self._refuse(connection, session, 410)
            return None
        if any(EVERYTHING in asked.get(name, ()) for name in endpoint.no_star):
            self._refuse(connection, session, 413)
            return None
        if any(not symbol or len(symbol) > LONGEST_SYMBOL for symbols in asked.values() for symbol in symbols):
            self._refuse(connection, session, 400)
            return None
        if not asked.keys() <= set(token.channels):
            self._refuse(connection, session, 409)
            return None
        return asked

    def _show(self, connection: Connection, session: _Session, symbols: Collection[str]) -> None:
        """Sends the last messages of these symbols."""
        assert session.token is not None
        kinds = {KINDS[name] for name in session.token.channels if name in KINDS}
        found = [
            Message(message.kind, message.symbol, mark_snapshot(message.raw))
            for message in session.feed.latest.of(symbols, kinds)
        ]
        send_messages(connection, found)
        connection.tell({"T": "success", "msg": "snapshot", "messages": len(found)})

    def _replay(self, connection: Connection, session: _Session, request: Request) -> None:
        if session.feed.history is None:
            self._refuse(connection, session, 410)
            return
        history = session.feed.history()
        if history is None:
            self._refuse(connection, session, 500)
            return
        asked = self._asked(connection, session, request)
        if asked is None:
            return
        since = _since(request.since)
        if since is None or (session.replaying and not session.replaying.done()):
            self._refuse(connection, session, 400)
            return
        channels: Mapping[str, Collection[str]] = asked or session.subscription.channels
        wanted = frozenset((KINDS[name], symbol) for name, symbols in channels.items() for symbol in symbols)
        live = session.subscription.live_from.copy
        session.replaying = self._replays.begin(
            Asked(connection, session.feed, history, since, wanted, live, to_server=bool(request.backfilled))
        )


def _not_served(path: str, served: Collection[str]) -> WSUpgradeResponseWithListener:
    """Before anybody authenticates or waits: a client that asked for one feed must not get another."""
    text = f"{path[:100] or '/'} is not served here; served are {', '.join(served)}\n"
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(404, text.encode(), headers), None)


def _since(text: str | int | None) -> Since | None:
    if text is None:
        return None
    if isinstance(text, str) and text.isascii() and text.isdecimal():
        # A number that is too long to be one is not even converted.
        text = int(text) if len(text) <= _LONGEST_NUMBER else -1
    if isinstance(text, int):
        return Since(text) if 0 <= text < 1 << 63 else None
    try:
        return Since(time_ns=time_ns(text))
    except (ValueError, OverflowError, ProtocolError):
        return None
