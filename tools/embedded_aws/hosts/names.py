"""The resolver of the hosts, at AWS's address 169.254.169.253: private zones of a host's VPC, then the outside.

Answers A, CNAME and TXT records over UDP; whatever is in no private zone goes to the machine's own resolver.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .. import account
from .databases import Databases
from .enclosure import OUTSIDE_NAME_SERVER
from .host import Host
from .instances import Instances

_TYPES = {"A": 1, "CNAME": 5, "TXT": 16}
_OUTSIDE = (OUTSIDE_NAME_SERVER, 53)
_NO_SUCH_NAME, _FAILED = 3, 2
_LONGEST = 4096
_PATIENCE = 5.0
_ALIASES = 8  # that lead on


class LoopError(Exception):
    """Aliases lead to each other, or to too many."""


@dataclass(frozen=True)
class Record:
    """One answer."""

    name: str
    type: str
    value: str
    ttl: int = 60


class Names:
    """Answers hosts' questions.

    :param outside: makes a socket that reaches the outside
    """

    def __init__(
        self,
        instances: Instances,
        databases: Databases,
        moto: AbstractContextManager[Any],
        outside: Callable[[], socket.socket],
    ) -> None:
        self._instances, self._databases, self._moto, self._outside = instances, databases, moto, outside

    def serve(self, listening: socket.socket) -> None:
        """Answer what comes to a socket, for ever."""
        while True:
            asked, address = listening.recvfrom(_LONGEST)
            threading.Thread(target=self._reply, args=(listening, asked, address), daemon=True).start()

    def _reply(self, listening: socket.socket, asked: bytes, address: tuple[str, int]) -> None:
        try:
            name, kind, end = question(asked)
        except (ValueError, IndexError, struct.error):
            return
        host = self._instances.at(address[0])
        try:
            with self._moto:
                found = self._private(host, name, kind) if host else None
                code = 0 if found or (host and self._known(host, name)) else _NO_SUCH_NAME
                onward = self._leads_out(host, found[-1], kind) if host and found else ""
        except LoopError:
            found, code, onward = [], _FAILED, ""
        if found is None:
            reply = self._forwarded(asked)
        elif onward:
            reply = continued(asked, end, found, self._forwarded(inquiry(asked, onward, kind)))
        else:
            reply = answer(asked, end, found, code)
        listening.sendto(reply, address)

    def _private(self, host: Host, name: str, kind: int, aliases: int = _ALIASES) -> list[Record] | None:
        """Records of a private zone of the host's VPC; empty if it has none, None if no such zone is there."""
        own = self._own(name)
        if own is not None:
            return own if kind == _TYPES["A"] else []
        zone = _zone(host, name)
        if zone is None:
            return None
        found = _records(zone, name)
        wanted = [each for each in found if _TYPES.get(each.type) == kind]
        alias = next((each for each in found if each.type == "CNAME"), None)
        if wanted or alias is None:
            return wanted
        if not aliases:
            raise LoopError(name)
        rest = self._private(host, alias.value.rstrip(".").lower(), kind, aliases - 1)
        return [alias, *(rest or [])]

    def _leads_out(self, host: Host, last: Record, kind: int) -> str:
        """The name outside the private zones that an alias leads to; empty if it leads to none."""
        name = last.value.rstrip(".").lower()
        if last.type != "CNAME" or kind == _TYPES["CNAME"] or self._own(name) or _zone(host, name):
            return ""
        return name

    def _known(self, host: Host, name: str) -> bool:
        """Whether the name has records, of whatever type."""
        zone = _zone(host, name)
        return self._own(name) is not None or bool(zone and _records(zone, name))

    def _own(self, name: str) -> list[Record] | None:
        """EC2's own name of a host, or the endpoint of a database."""
        found = self._instances.named(name) or self._databases.named(name)
        return [Record(name, "A", found.address)] if found else None

    def _forwarded(self, asked: bytes) -> bytes:
        try:
            with self._outside() as socket_:
                socket_.settimeout(_PATIENCE)
                socket_.sendto(asked, _OUTSIDE)
                return socket_.recv(_LONGEST)
        except OSError:
            return answer(asked, question(asked)[2], [], code=_FAILED)


def _zone(host: Host, name: str) -> Any | None:
    """The closest private zone that is associated with the host's VPC."""
    zones = account.backend("route53", account.PARTITION).zones.values()
    fitting = [
        zone
        for zone in zones
        if zone.private_zone
        and f".{name}".endswith("." + zone.name.rstrip(".").lower())
        and any(vpc["vpc_id"] == host.vpc for vpc in zone.vpcs)
    ]
    return max(fitting, key=lambda zone: len(zone.name), default=None)


def _records(zone: Any, name: str) -> list[Record]:
    """The records of a name, or those of a wildcard: it stands for what does not exist, and for what is below that."""
    names: dict[str, list[Any]] = {}
    for record in zone.rrsets:
        names.setdefault(record.name.rstrip(".").lower().replace("\\052", "*"), []).append(record)
    if any(each.endswith(f".{name}") for each in names):
        names.setdefault(name, [])
    here = name
    while here not in names and "." in here:
        parent = here.partition(".")[2]
        if f"*.{parent}" in names:
            here = f"*.{parent}"
        elif any(each == parent or each.endswith(f".{parent}") for each in names):
            return []
        else:
            here = parent
    # Only a wildcard stands for other names.
    found = names.get(here, []) if here == name or here.startswith("*.") else []
    return [
        Record(name, record.type, str(value), int(record.ttl or 60))
        for record in found
        for value in record.records or []
    ]


def question(message: bytes) -> tuple[str, int, int]:
    """Name in lower case, type, and where the question ends."""
    position, labels = 12, []
    while message[position]:
        length = message[position]
        if length > 63:
            raise ValueError("compressed question")
        labels.append(message[position + 1 : position + 1 + length].decode("ascii"))
        position += 1 + length
    kind, _class = struct.unpack("!HH", message[position + 1 : position + 5])
    return ".".join(labels).lower(), kind, position + 5


def inquiry(asked: bytes, name: str, kind: int) -> bytes:
    """The same question about another name."""
    return asked[:2] + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + _name(name) + struct.pack("!HH", kind, 1)


def continued(asked: bytes, end: int, records: list[Record], outside: bytes) -> bytes:
    """A response that begins with our records and goes on with another's answer to the last one's value."""
    first = answer(asked, end, records)
    number, _authority, _additional = struct.unpack("!HHH", outside[6:12])
    rest = b""
    position = question(outside)[2]
    for _ in range(number):
        name, position = _expanded(outside, position)
        kind, class_, ttl, length = struct.unpack("!HHIH", outside[position : position + 10])
        data = outside[position + 10 : position + 10 + length]
        if kind == _TYPES["CNAME"]:  # its value may point into the other message
            data = _name(_expanded(outside, position + 10)[0])
        rest += _name(name) + struct.pack("!HHIH", kind, class_, ttl, len(data)) + data
        position += 10 + length
    code = outside[3] & 0x0F
    return first[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records) + number, 0, 0) + first[12:] + rest


def _expanded(message: bytes, position: int) -> tuple[str, int]:
    """A name that may end in a pointer, and where it ends."""
    labels, after = [], 0
    for _ in range(128):
        length = message[position]
        if length >= 0xC0:
            after = after or position + 2
            position = struct.unpack("!H", message[position : position + 2])[0] & 0x3FFF
        elif length:
            labels.append(message[position + 1 : position + 1 + length].decode("ascii"))
            position += 1 + length
        else:
            break
    return ".".join(labels), after or position + 1


def answer(asked: bytes, end: int, records: Iterable[Record], code: int = 0) -> bytes:
    """A response to a question."""
    packed = [_packed(record) for record in records]
    flags = 0x8580 | code  # authoritative, recursion available
    header = asked[:2] + struct.pack("!HHHHH", flags, 1, len(packed), 0, 0)
    return header + asked[12:end] + b"".join(packed)


def _packed(record: Record) -> bytes:
    if record.type == "A":
        data = ipaddress.IPv4Address(record.value).packed
    elif record.type == "CNAME":
        data = _name(record.value)
    else:
        text = record.value.strip('"').encode()[:255]
        data = bytes([len(text)]) + text
    return _name(record.name) + struct.pack("!HHIH", _TYPES[record.type], 1, record.ttl, len(data)) + data


def _name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split(".")) + b"\0"
