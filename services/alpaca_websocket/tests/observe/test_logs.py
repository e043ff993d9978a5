# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from alpaca_websocket.observe import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    kept = logger.handlers, logger.level
    yield logger
    logger.handlers, logger.level = kept[0], kept[1]


def test_a_line_is_one_object_with_what_was_added_to_it(root: logging.Logger) -> None:
    stream = io.StringIO()
    listener = logs.configure("INFO", stream)
    log = logging.getLogger("alpaca_websocket.test")
    log.info("connected to %s", "x", extra={"code": 406, "path": {"a": [1]}, "odd": object})
    log.debug("not this")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    listener.stop()

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "connected to x"
    assert (first["level"], first["logger"], first["code"]) == ("info", "alpaca_websocket.test", 406)
    assert first["path"] == {"a": [1]}
    assert first["time"].endswith("+00:00")
    assert "ValueError: two\nlines" in second["exception"]


class Stuck(io.StringIO):
    """A pipe that nobody reads, until somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = __import__("threading").Lock()
        self.lock.acquire()

    def write(self, text: str) -> int:
        with self.lock:
            return super().write(text)


def test_a_pipe_that_nobody_reads_does_not_stop_the_logging_thread_and_drops_the_excess(root: logging.Logger) -> None:
    stream = Stuck()
    listener = logs.configure("INFO", stream)
    for number in range(logs.KEPT + 500):
        logging.getLogger("x").info("%d", number)
    stream.lock.release()
    listener.stop()
    written = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert logs.KEPT <= len(written) < logs.KEPT + 500
    assert written == [str(number) for number in range(len(written))]
