# SPDX-License-Identifier: GPL-3.0-or-later
"""One server with one upstream for the tests of a module: starting them is what takes time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from support import Server, StandIn, ended


class World(NamedTuple):
    upstream: StandIn
    server: Server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path_factory.mktemp("server"), upstream)
        with ended(server):
            server.phase("streaming")
            yield World(upstream, server)
            assert server.stop() == 0
