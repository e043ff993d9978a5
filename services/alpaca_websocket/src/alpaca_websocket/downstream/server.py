# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's protocol as a server: who is let in, what is asked, what is answered."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from picows import WSListener, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from ..endpoints import Endpoint
from ..observe.state import Client, State
from ..protocol import FOLLOWS_TRADES, LONGEST_SYMBOL, Pair, ProtocolError, Request, time_ns
from ..settings import Downstream
from ..websocket import negotiate
from .auth import Token, Tokens
from .connection import Connection
from .replay import History, Since, replay
from .router import Router, pairs
from .trading import TradingConnection

_log = logging.getLogger(__name__)
_REFUSED_MOST = 20  # errors on one connection; who makes more is closed
_REPLAYS_AT_ONCE = 4


class Served(NamedTuple):
    """One feed, as clients see it.

    `head`: the sequence number of the last message received. `history`: where replays come from; without one they are
    answered 410.
    """

    name: str
    endpoint: Endpoint
    state: State
    router: Router
    head: Callable[[], int]
    history: History | None

    def mark(self) -> int:
        """Sends off what is queued, and returns the sequence number of the last message received."""
        self.router.flush()
        return self.head()


class _Session:
    """What is known of one connection beyond its bytes."""

    __slots__ = ("channels", "errors", "feed", "live_from", "replaying", "timer", "token")

    def __init__(self, feed: Served) -> None:
        self.feed = feed
        self.token: Token | None = None
        self.channels: dict[str, set[str]] = {}
        self.live_from: dict[Pair, int] = {}
        self.replaying: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.errors = 0


class Server:
    """Listens, and keeps the sessions.

    :param feeds: the path that clients ask for → what they get there
    """

    def __init__(self, settings: Downstream, tokens: Tokens, feeds: Mapping[str, Served]) -> None:
        self._settings, self._tokens, self._feeds = settings, tokens, feeds
        self._sessions: dict[Connection, _Session] = {}
        self._by_token: Counter[tuple[str, str]] = Counter()  # feed's name, key: connections
        self._numbers = itertools.count(1)
        self._replays = asyncio.Semaphore(_REPLAYS_AT_ONCE)
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listens from now on; returns the port."""
        context = None
        if self._settings.tls_certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._settings.tls_certificate, self._settings.tls_key)
        self._server = await ws_create_server(
            self._accept,
            self._settings.host,
            self._settings.port,
            ssl=context,
            max_frame_size=self._settings.max_request_bytes,
            websocket_handshake_timeout=self._settings.auth_timeout,
            enable_auto_ping=True,
            auto_ping_idle_timeout=self._settings.ping_seconds,
            auto_ping_reply_timeout=self._settings.ping_seconds,
            reuse_address=True,
            backlog=1024,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, seconds: float = 2.0) -> None:
        """Sends what is queued, closes every connection with 1001 and waits that long for them to go."""
        if self._server is None:
            return
        self._server.close()
        for feed in self._feeds.values():
            feed.router.flush()
        for connection in list(self._sessions):
            connection.end(1001, "the server stops; come back")
        give_up = asyncio.get_running_loop().time() + seconds
        while self._sessions and asyncio.get_running_loop().time() < give_up:
            await asyncio.sleep(0.01)
        for connection in list(self._sessions):
            connection.end(1001, "", at_once=True)
        self._server = None

    def warn(self, path: str, dropped: Mapping[str, set[str]]) -> None:
        """Tells the clients concerned that the upstream of this path refuses these symbols."""
        for connection, session in self._sessions.items():
            if session.feed is not self._feeds[path]:
                continue
            mine = {name: sorted(session.channels.get(name, set()) & symbols) for name, symbols in dropped.items()}
            text = ", ".join(f"{name} {' '.join(symbols)}" for name, symbols in mine.items() if symbols)
            if text:
                connection.refuse(405, f"upstream has no room for {text}")

    # Connections

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
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
        opened = partial(self._opened, feed)
        if feed.endpoint.trading:
            connection: Connection = TradingConnection(
                view, feed.state, self._settings, self._handle, opened, self._closed
            )
        else:
            connection = Connection(view, feed.state, self._settings, agreed, self._handle, opened, self._closed)
        key, secret = headers.get("APCA-API-KEY-ID", ""), headers.get("APCA-API-SECRET-KEY", "")
        if key or secret:
            connection.offered = key, secret
        if agreed is None:
            return connection
        answer = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Extensions": agreed.header})
        return WSUpgradeResponseWithListener(answer, connection)

    def _opened(self, feed: Served, connection: Connection) -> None:
        session = self._sessions[connection] = _Session(feed)
        feed.state.clients[connection.view.id] = connection.view
        feed.state.clients_total += 1
        connection.tell({"T": "success", "msg": "connected"})
        if len(self._sessions) > self._settings.max_connections:
            connection.refuse(406)
            connection.end(1013, "connection limit exceeded")
            return
        session.timer = asyncio.get_running_loop().call_later(self._settings.auth_timeout, self._too_late, connection)
        if connection.offered:
            self._authenticate(connection, session, *connection.offered)

    def _closed(self, connection: Connection) -> None:
        session = self._sessions.pop(connection, None)
        if session is None:
            return
        session.feed.state.clients.pop(connection.view.id, None)
        if session.timer:
            session.timer.cancel()
        if session.replaying:
            session.replaying.cancel()
        if session.token:
            self._by_token[session.feed.name, session.token.key] -= 1
            _log.info("client gone", extra={"client": session.token.name, "delivered": connection.view.delivered})
        session.feed.router.subscribe(connection, frozenset())

    def _too_late(self, connection: Connection) -> None:
        connection.refuse(404)
        connection.end(1008, "auth timeout")

    # Requests

    def _handle(self, connection: Connection, request: Request) -> None:
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

    def _refuse(self, connection: Connection, session: _Session, code: int, detail: str = "") -> None:
        connection.refuse(code, detail)
        session.errors += 1
        if session.errors >= _REFUSED_MOST:
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
        place = session.feed.name, token.key  # as at Alpaca: so many for each endpoint
        if self._by_token[place] >= token.connections:
            connection.refuse(406)
            connection.end(1008, "connection limit exceeded")
            return
        if session.timer:
            session.timer.cancel()
        session.token = token
        self._by_token[place] += 1
        connection.view.name = token.name
        connection.tell({"T": "success", "msg": "authenticated"})
        _log.info(
            "client here", extra={"client": token.name, "feed": session.feed.name, "address": connection.view.address}
        )

    def _subscribe(self, connection: Connection, session: _Session, request: Request) -> None:
        asked = self._asked(connection, session, request)
        if asked is None:
            return
        token = session.token
        assert token is not None
        channels = {name: set(symbols) for name, symbols in session.channels.items()}
        for name, symbols in asked.items():
            channels.setdefault(name, set()).update(symbols)
        if token.symbols and not session.feed.endpoint.trading:  # an account's orders are not listed by symbol
            distinct = {symbol for symbols in channels.values() for symbol in symbols}
            if "*" in distinct or len(distinct) > token.symbols:
                self._refuse(connection, session, 405)
                return
        self._apply(connection, session, channels)

    def _unsubscribe(self, connection: Connection, session: _Session, request: Request) -> None:
        channels = {name: set(symbols) for name, symbols in session.channels.items()}
        for name, symbols in request.channels().items():
            # `*` is a subscription of its own: it takes nothing else with it.
            channels.get(name, set()).difference_update(symbols)
        self._apply(connection, session, channels)

    def _apply(self, connection: Connection, session: _Session, channels: dict[str, set[str]]) -> None:
        session.channels = {name: symbols for name, symbols in channels.items() if symbols}
        wanted = pairs(session.channels)
        session.feed.router.subscribe(connection, wanted)
        head = session.feed.head()
        session.live_from = {pair: session.live_from.get(pair, head) for pair in wanted}
        trades = session.channels.get("trades", set())
        listed = {
            name: sorted(trades if name in FOLLOWS_TRADES else session.channels.get(name, ()))
            for name in session.feed.endpoint.channels
        }
        connection.view.subscriptions = {name: symbols for name, symbols in listed.items() if symbols}
        connection.tell({"T": "subscription", **listed})

    def _asked(self, connection: Connection, session: _Session, request: Request) -> dict[str, list[str]] | None:
        """The channels of a request, without what comes by itself; None where it was refused."""
        token = session.token
        assert token is not None
        asked = {name: symbols for name, symbols in request.channels().items() if name not in FOLLOWS_TRADES}
        endpoint = session.feed.endpoint
        if not asked.keys() <= set(endpoint.channels):
            self._refuse(connection, session, 410)
            return None
        if any("*" in asked.get(name, ()) for name in endpoint.no_star):
            self._refuse(connection, session, 413)
            return None
        if any(not symbol or len(symbol) > LONGEST_SYMBOL for symbols in asked.values() for symbol in symbols):
            self._refuse(connection, session, 400)
            return None
        if not asked.keys() <= set(token.channels):
            self._refuse(connection, session, 409)
            return None
        return asked

    def _replay(self, connection: Connection, session: _Session, request: Request) -> None:
        history = session.feed.history
        if history is None:
            self._refuse(connection, session, 410)
            return
        asked = self._asked(connection, session, request)
        if asked is None:
            return
        since = _since(request.since)
        if since is None or (session.replaying and not session.replaying.done()):
            self._refuse(connection, session, 400)
            return
        channels = {name: set(symbols) for name, symbols in asked.items()} or session.channels
        held_from = session.feed.mark()
        if since.sequence >= held_from or since.time_ns > session.feed.state.clock():
            # It only wants to know where the feed is: whatever comes after this answer was received after the question.
            connection.tell({"T": "success", "msg": "replayed", "through": held_from})
            return
        connection.hold()
        session.replaying = asyncio.create_task(
            self._run_replay(connection, session, history, since, pairs(channels), held_from)
        )

    async def _run_replay(
        self,
        connection: Connection,
        session: _Session,
        history: History,
        since: Since,
        wanted: frozenset[Pair],
        held_from: int,
    ) -> None:
        try:
            async with self._replays:
                through = await replay(
                    connection, history, since, wanted, lambda: session.live_from, session.feed.mark, held_from
                )
        except Exception:
            _log.exception("a replay failed", extra={"client": connection.view.name})
            connection.refuse(500)
            # What was held is lost, and the client does not know what: it has to begin anew.
            connection.end(1011, "the replay failed")
            return
        _log.info("replayed", extra={"client": connection.view.name, "through": through})


def _not_served(path: str, served: Collection[str]) -> WSUpgradeResponseWithListener:
    """Before anybody authenticates or waits: a client that asked for one feed must not get another."""
    text = f"{path[:100] or '/'} is not served here; served are {', '.join(served)}\n"
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(404, text.encode(), headers), None)


def _since(text: str | int | None) -> Since | None:
    if text is None:
        return None
    if isinstance(text, int) or (text.isascii() and text.isdecimal()):
        return Since(int(text))
    try:
        return Since(time_ns=time_ns(text))
    except (ValueError, OverflowError, ProtocolError):
        return None
