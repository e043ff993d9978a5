# SPDX-License-Identifier: GPL-3.0-or-later
"""A client in another language: JavaScript, with node's own WebSocket."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import wait_for

from .conftest import World

NODE = shutil.which("node")


def _version() -> tuple[int, int]:
    text = subprocess.run([str(NODE), "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = text.strip().removeprefix("v").split(".")
    return int(major), int(minor)


pytestmark = pytest.mark.skipif(
    NODE is None or _version() < (20, 10), reason="no node of 20.10 or newer, which has a WebSocket of its own"
)


class Node:
    def __init__(self, world: World, symbol: str, secret: str = "secret-2") -> None:
        flags = ["--experimental-websocket"] if _version() < (22, 0) else []
        script = str(Path(__file__).with_name("client.mjs"))
        self.process = subprocess.Popen(
            [str(NODE), *flags, script, world.server.url, "key-2", secret, symbol], stdout=subprocess.PIPE, text=True
        )
        self.got: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.got.append(json.loads(line))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.got if item.get("T") == kind]


@pytest.fixture
def node(world: World) -> Iterator[Node]:
    made = Node(world, "GOOG")
    yield made
    made.process.kill()
    made.process.wait()


def test_it_gets_its_symbol_as_upstream_sent_it(world: World, node: Node) -> None:
    [subscription] = wait_for(lambda: node.of("subscription"), "the subscription")
    assert (subscription["trades"], subscription["bars"], subscription["quotes"]) == (["GOOG"], ["GOOG"], [])
    assert subscription["corrections"] == ["GOOG"]
    wait_for(lambda: world.upstream.subscribed("trades") == ["GOOG"], "it to reach upstream")

    world.upstream.control("step", times=6)

    wait_for(lambda: len(node.of("t")) == 6 and len(node.of("b")) == 2, "six trades and two bars")
    assert {item["S"] for item in node.of("t") + node.of("b")} == {"GOOG"}
    assert node.of("q") == []
    assert {"o", "h", "l", "c", "v", "n", "vw", "t"} <= node.of("b")[0].keys()


def test_a_wrong_secret_is_told(world: World) -> None:
    node = Node(world, "GOOG", secret="wrong")
    try:
        [error] = wait_for(lambda: node.of("error"), "the error")
        assert (error["code"], error["msg"].split(":")[0]) == (402, "auth failed")
    finally:
        node.process.kill()
        node.process.wait()
