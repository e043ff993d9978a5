"""Security groups: the rules of hosts and databases for what comes in and goes out, as nftables in their namespace.

Connections that are established stay when a rule is revoked, as on AWS. What hosts ask of the embedded AWS itself, of
its metadata and of its resolver is not filtered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from .databases import Database, Databases
from .enclosure import Enclosure, EnclosureError
from .host import Host
from .instances import Instances

_TABLE = "inet embedded_aws"
_LOOK_SECONDS = 0.5


class Firewall:
    """Keeps the namespace's rules as moto's security groups say.

    :param enclosure: an open one
    """

    def __init__(
        self,
        enclosure: Enclosure,
        instances: Instances,
        databases: Databases,
        moto: AbstractContextManager[Any],
        log: Callable[[str], None],
    ) -> None:
        self._enclosure, self._moto, self._log = enclosure, moto, log
        self._instances, self._databases = instances, databases
        self._applying = threading.Lock()
        self._applied = ""

    def watch(self) -> None:
        """Follow changes of the groups, for ever."""
        while True:
            try:
                self.apply()
            except EnclosureError as error:
                self._log(f"hosts: security groups: {error}")
            time.sleep(_LOOK_SECONDS)

    def apply(self) -> None:
        """Load the rules as they are now.

        :raises EnclosureError: if the kernel refuses them
        """
        with self._applying:
            with self._moto:
                wanted = ruleset([*self._instances.all(), *self._databases.all()])
            if wanted != self._applied:
                self._enclosure.run("nft", "-f", "-", given=wanted)
                self._applied = wanted


def ruleset(hosts: Sequence[Host | Database]) -> str:
    """The rules for these hosts, which replace all earlier ones; called under moto's lock.

    Of two with one address, the later one waits for the earlier one to be gone.
    """
    hosts = list({host.address: host for host in reversed(hosts)}.values())
    members: dict[str, list[str]] = {}
    for host in hosts:
        for group in host.groups():
            members.setdefault(group.id, []).append(host.address)
    lines = [f"table {_TABLE}", f"delete table {_TABLE}", f"table {_TABLE} {{"]
    for host in sorted(hosts, key=lambda each: each.address):
        for direction, rules, other in (("out", "egress_rules", "daddr"), ("in", "ingress_rules", "saddr")):
            allowed = {
                f"{_peer(rule, other, members)}{_protocol(rule)} return"
                for group in host.groups()
                for rule in getattr(group, rules)
                if _peer(rule, other, members) is not None
            }
            lines += [f"chain {direction}_{_name(host)} {{", *sorted(allowed), "drop", "}"]
    lines += [
        "chain forward {",
        "type filter hook forward priority 0; policy accept;",
        "ct state established,related accept",
    ]
    for direction, own in (("out", "saddr"), ("in", "daddr")):
        jumps = ", ".join(f"{host.address} : jump {direction}_{_name(host)}" for host in hosts)
        lines += [f"ip {own} vmap {{ {jumps} }}"] if jumps else []
    return "\n".join([*lines, "}", "}", ""])


def _name(host: Host | Database) -> str:
    return host.address.replace(".", "_")


def _peer(rule: Any, other: str, members: dict[str, list[str]]) -> str | None:
    """The match of the other side; None if nobody is there."""
    if rule.cidr_ipv4:
        return f"ip {other} {rule.cidr_ipv4} "
    addresses = members.get((rule.source_group or {}).get("GroupId", ""))
    return f"ip {other} {{ {', '.join(sorted(addresses))} }} " if addresses else None


def _protocol(rule: Any) -> str:
    """The match of protocol and ports."""
    protocol, first, last = rule.ip_protocol, rule.from_port, rule.to_port
    if protocol == "-1":
        return ""
    if protocol in ("tcp", "udp"):
        return f"meta l4proto {protocol} th dport {first}-{last}"
    kind = f" icmp type {first}" if protocol == "icmp" and first not in (None, -1) else ""
    return f"meta l4proto {protocol}{kind}"
