# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets connections in, and keeps those that have not authenticated few, apart from clients, and shared by address.

Who finds all places of its address taken waits as a bare socket, of which nothing is read. While somebody waits, who
has not authenticated after a while makes room. So neither a crowd at once nor idle connections keep others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import resource
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable

from aiofastnet import connect_accepted_socket

from ..observe.state import Arrivals
from ..settings import Downstream

_log = logging.getLogger(__name__)
_ACCEPTED_AT_ONCE = 64  # in one turn of the event loop
_BACKLOG = 1024
_RECEIVE_BYTES = 64 * 1024  # what the kernel holds of a client's requests, and so what one read brings at most
_WAITING_MOST = 2048
_WAITING_OF_AN_ADDRESS = 1024
_TICK_SECONDS = 0.25
_MAKES_ROOM_SECONDS = 2.0  # unauthenticated for that long, while somebody waits
_SPARE = 8  # descriptors given free when there are none left, so that the status port and the store go on
_KEPT_DESCRIPTORS = 64  # of the limit, for everything but clients
_UNLIMITED = 1 << 20
_REMEDY = "raise the limit of open files (LimitNOFILE=), or lower downstream.max_connections"
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Place:
    """One connection's: among the unauthenticated at first, among clients once it is admitted."""

    __slots__ = ("_door", "abort", "address", "admitted", "since")

    def __init__(self, door: Door, address: str) -> None:
        self._door = door
        self.address = address
        self.since = time.monotonic()
        self.admitted = False
        self.abort: Callable[[], object] = lambda: None

    def admit(self) -> None:
        """It is authenticated."""
        self._door.admit(self)

    def leave(self) -> None:
        """It is gone."""
        self._door.leave(self)

    def too_much(self) -> None:
        """It has sent more than it may before authentication."""
        self._door.refuse(self)


class Door:
    """Listens.

    :param make: makes the protocol of a connection that got a place
    :param alert: raises ("…") or ends ("") the condition that no client is admitted
    """

    def __init__(
        self,
        settings: Downstream,
        make: Callable[[Place], asyncio.BaseProtocol],
        arrivals: Arrivals,
        alert: Callable[[str], None],
    ) -> None:
        self._settings, self._make, self._arrivals, self._alert = settings, make, arrivals, alert
        self._context: ssl.SSLContext | None = None
        self._listening: list[socket.socket] = []
        self._places: dict[str, dict[Place, None]] = {}  # unauthenticated, by address, the oldest first
        self._waiting: dict[str, deque[tuple[float, socket.socket]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._spare: list[int] = []
        self._exhausted = False
        self._most = 0

    async def open(self, context: ssl.SSLContext | None) -> int:
        """Listens from now on; returns the port. Raises OSError."""
        self._context = context
        loop = asyncio.get_running_loop()
        host = self._settings.host or None
        found = await loop.getaddrinfo(
            host, self._settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        try:
            for family, kind, protocol, _name, address in dict.fromkeys(found):
                self._listening.append(_listen(family, kind, protocol, address))
        except OSError:
            self.close()
            raise
        self._most = _descriptors_for_clients()
        self._take_spare()
        for listening in self._listening:
            loop.add_reader(listening, self._accept, listening)
        self._ticking = loop.call_later(_TICK_SECONDS, self._tick)
        return int(self._listening[0].getsockname()[1])

    def close(self) -> None:
        """Lets nobody in any more. Who is in stays, but for those who have not authenticated."""
        loop = asyncio.get_running_loop()
        if self._ticking:
            self._ticking.cancel()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        for queue in self._waiting.values():
            for _since, connection in queue:
                connection.close()
        self._waiting.clear()
        for place in [place for places in self._places.values() for place in places]:
            place.abort()
        self._give_spare()

    # Who comes

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    _log.warning("a connection could not be accepted", extra={"problem": str(error)})
                    return
                self._run_out(str(error))
                return
            connection.setblocking(False)
            self._arrived(connection, _by(address[0]))

    def _arrived(self, connection: socket.socket, address: str) -> None:
        arrivals = self._arrivals
        waiting = self._waiting.get(address)
        if arrivals.unauthenticated + arrivals.waiting + arrivals.clients >= self._most:
            self._turn_away(connection, "descriptors")
        elif not waiting and self._has_room(address):
            self._let_in(connection, address)
        elif arrivals.waiting < _WAITING_MOST and len(waiting or ()) < _WAITING_OF_AN_ADDRESS:
            self._waiting.setdefault(address, deque()).append((time.monotonic(), connection))
            arrivals.waiting += 1
        else:
            self._turn_away(connection, "too many unauthenticated")

    def _turn_away(self, connection: socket.socket, reason: str) -> None:
        connection.close()
        self._arrivals.turned_away[reason] += 1

    def _has_room(self, address: str) -> bool:
        return (
            self._arrivals.unauthenticated < self._settings.max_unauthenticated
            and len(self._places.get(address, ())) < self._settings.max_unauthenticated_per_address
        )

    def _let_in(self, connection: socket.socket, address: str) -> None:
        place = Place(self, address)
        self._places.setdefault(address, {})[place] = None
        self._arrivals.unauthenticated += 1
        task = asyncio.get_running_loop().create_task(self._connect(connection, place))
        place.abort = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket, place: Place) -> None:
        try:
            await connect_accepted_socket(
                asyncio.get_running_loop(),
                lambda: self._make(place),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._settings.auth_timeout if self._context else None,
            )
        except (OSError, asyncio.CancelledError) as error:  # no TLS, not in time, or it made room for another
            connection.close()
            place.leave()
            _log.debug("a connection that came to nothing", extra={"problem": str(error)})

    # Places

    def admit(self, place: Place) -> None:
        """See Place.admit."""
        if self._free(place):
            place.admitted = True
            self._arrivals.clients += 1
            self._seat()

    def leave(self, place: Place) -> None:
        """See Place.leave."""
        if place.admitted:
            place.admitted = False
            self._arrivals.clients -= 1
        elif self._free(place):
            self._seat()

    def refuse(self, place: Place) -> None:
        """See Place.too_much."""
        self._arrivals.turned_away["too much before authentication"] += 1
        place.abort()

    def _free(self, place: Place) -> bool:
        places = self._places.get(place.address, {})
        if place not in places:
            return False
        del places[place]
        if not places:
            del self._places[place.address]
        self._arrivals.unauthenticated -= 1
        return True

    def _seat(self) -> None:
        """Lets in who waits, as far as there is room: first those of the address that has the fewest places."""
        while self._waiting and self._arrivals.unauthenticated < self._settings.max_unauthenticated:
            address = min(self._waiting, key=lambda each: len(self._places.get(each, ())))
            if not self._has_room(address):
                return
            _since, connection = self._next(address)
            self._let_in(connection, address)

    def _next(self, address: str) -> tuple[float, socket.socket]:
        queue = self._waiting[address]
        found = queue.popleft()
        if not queue:
            del self._waiting[address]
        self._arrivals.waiting -= 1
        return found

    def _make_room(self, now: float) -> None:
        """While somebody waits, those go that have not authenticated for a while."""
        full = self._arrivals.unauthenticated >= self._settings.max_unauthenticated
        crowded = set(self._waiting)
        if full and self._places:
            crowded.add(max(self._places, key=lambda each: len(self._places[each])))
        for address in crowded:
            waiting = self._arrivals.waiting if full else len(self._waiting.get(address, ()))
            late = [place for place in self._places.get(address, ()) if now - place.since > _MAKES_ROOM_SECONDS]
            for place in late[:waiting]:
                self._arrivals.turned_away["made room"] += 1
                place.abort()

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        now = time.monotonic()
        for address in list(self._waiting):
            while (queue := self._waiting.get(address)) and now - queue[0][0] > self._settings.auth_timeout:
                self._turn_away(self._next(address)[1], "waited in vain")
        if self._waiting:
            self._make_room(now)
            self._seat()
        self._look_after_descriptors()

    # Descriptors

    def _look_after_descriptors(self) -> None:
        if self._exhausted:
            with contextlib.suppress(OSError):
                self._take_spare()
                self._exhausted = False
                for listening in self._listening:
                    asyncio.get_running_loop().add_reader(listening, self._accept, listening)
        else:
            try:
                os.close(os.dup(self._spare[0]))
            except OSError as error:
                self._run_out(str(error))
        arrivals = self._arrivals
        if not self._exhausted:
            full = arrivals.unauthenticated + arrivals.waiting + arrivals.clients >= self._most
            text = f"no client is admitted: all {self._most} descriptors for clients are taken; {_REMEDY}"
            self._alert(text if full else "")

    def _run_out(self, problem: str) -> None:
        """Stops letting people in; what is kept in reserve is for the status port and the store."""
        self._exhausted = True
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
        self._give_spare()
        self._alert(f"no client is admitted: {problem}; {_REMEDY}")

    def _take_spare(self) -> None:
        """Raises OSError when there are not that many left."""
        while len(self._spare) < _SPARE:
            try:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                self._give_spare()
                raise

    def _give_spare(self) -> None:
        for descriptor in self._spare:
            os.close(descriptor)
        self._spare.clear()


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _descriptors_for_clients() -> int:
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _UNLIMITED
    used = len(os.listdir("/dev/fd"))
    return max(1, limit - used - min(_KEPT_DESCRIPTORS, limit // 4))


def _by(address: str) -> str:
    """By what connections are counted: one host can have as many IPv6 addresses as it likes."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return address
