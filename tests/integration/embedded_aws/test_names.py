"""The hosts' resolver: wildcards, chains of aliases, loops of them, and those that lead out of the private zones."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from embedded_aws.hosts import names

VPC, ZONE = "vpc-1", "qa.internal"
RECORDS = {
    "feed": ("A", "10.0.0.4"),
    "*.models": ("A", "10.0.0.5"),
    "aapl.models": ("A", "10.0.0.6"),
    "host.rack.models": ("A", "10.0.0.7"),
    "alias": ("CNAME", "Second.qa.internal."),
    "second": ("CNAME", "feed.qa.internal"),
    "round": ("CNAME", "about.qa.internal"),
    "about": ("CNAME", "round.qa.internal"),
    "broken": ("CNAME", "nobody.qa.internal"),
    "out": ("CNAME", "db.example.com"),
}


class Outside:
    """Somebody else's resolver: knows one name, by an alias of its own, and points back into its message."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            asked, back = self.socket.recvfrom(4096)
            name, _kind, end = names.question(asked)
            self.asked.append(name)
            real = b"\x04real\xc0\x0f"  # "real." and then what follows "db." in the question
            alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, len(real)) + real
            address = b"\xc0" + bytes([end + 12]) + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 9])
            header = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, 2, 0, 0)
            self.socket.sendto(header + asked[12:end] + alias + address, back)


@pytest.fixture(scope="module")
def outside() -> Outside:
    return Outside()


@pytest.fixture(scope="module")
def ask(outside: Outside) -> Iterator[Callable[[str], tuple[int, list[tuple[str, str]]]]]:
    host = SimpleNamespace(vpc=VPC)
    instances: Any = SimpleNamespace(at=lambda _address: host, named=lambda _name: None)
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
        route53 = session.client("route53")
        vpc = {"VPCRegion": "us-east-1", "VPCId": VPC}
        more = {"VPC": vpc, "HostedZoneConfig": {"PrivateZone": True, "Comment": ""}}
        zone = route53.create_hosted_zone(Name=ZONE, CallerReference="1", **more)["HostedZone"]["Id"]
        for name, (kind, value) in RECORDS.items():
            record = {"Name": f"{name}.{ZONE}", "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}]}
            change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
            route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
        patch.setattr(names, "_OUTSIDE", outside.socket.getsockname())
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listening.bind(("127.0.0.1", 0))
        databases = SimpleNamespace(named=lambda _name: None)
        resolver = names.Names(
            instances, databases, threading.RLock(), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        threading.Thread(target=resolver.serve, args=(listening,), daemon=True).start()
        yield lambda name: _ask(listening.getsockname(), name)


def _ask(server: tuple[str, int], name: str) -> tuple[int, list[tuple[str, str]]]:
    """The response code and the answers, name and value, to a question for an address."""
    asked = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + names._name(name) + struct.pack("!HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        client.sendto(asked, server)
        reply = client.recv(4096)
    assert names.question(reply)[0] == name.lower()
    position, found = names.question(reply)[2], []
    for _ in range(struct.unpack("!H", reply[6:8])[0]):
        owner, position = names._expanded(reply, position)
        kind, _class, _ttl, length = struct.unpack("!HHIH", reply[position : position + 10])
        data = reply[position + 10 : position + 10 + length]
        found.append((owner, names._expanded(reply, position + 10)[0] if kind == 5 else socket.inet_ntoa(data)))
        position += 10 + length
    return reply[3] & 0x0F, found


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("feed", "10.0.0.4"),
        ("FEED", "10.0.0.4"),
        ("msft.models", "10.0.0.5"),
        ("a.b.models", "10.0.0.5"),
        ("aapl.models", "10.0.0.6"),
    ],
)
def test_a_wildcard_stands_for_the_names_that_do_not_exist(ask: Any, name: str, address: str) -> None:
    code, found = ask(f"{name}.{ZONE}")
    assert (code, [value for _owner, value in found]) == (0, [address])
    assert found[0][0] == f"{name}.{ZONE}".lower()


@pytest.mark.parametrize("name", ["nobody", "models", "rack.models", "x.rack.models", "x.aapl.models", "broken"])
def test_and_for_no_others(ask: Any, outside: Outside, name: str) -> None:
    assert [value for _owner, value in ask(f"{name}.{ZONE}")[1] if value[0].isdigit()] == []
    assert not [asked for asked in outside.asked if asked.endswith(ZONE)], "private names are nobody else's business"


def test_a_chain_of_aliases_is_followed_and_a_loop_fails(ask: Any) -> None:
    code, found = ask(f"alias.{ZONE}")
    assert (code, found[-1]) == (0, (f"feed.{ZONE}", "10.0.0.4"))
    assert len(found) == 3
    assert ask(f"round.{ZONE}") == (2, [])
    assert ask(f"feed.{ZONE}")[0] == 0


def test_an_alias_that_leads_out_is_resolved_outside(ask: Any, outside: Outside) -> None:
    code, found = ask(f"out.{ZONE}")
    assert code == 0
    assert [value for _owner, value in found] == ["db.example.com", "real.example.com", "192.0.2.9"]
    assert outside.asked == ["db.example.com"]
