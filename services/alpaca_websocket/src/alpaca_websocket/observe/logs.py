# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs as JSON, one object a line on standard error, written by a thread so that a full pipe never stops the feed."""

from __future__ import annotations

import atexit
import contextlib
import logging
import logging.handlers
import queue
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
KEPT = 10_000  # records waiting for the pipe; more are dropped rather than held in memory
_PATIENCE = 2.0  # seconds for what is left at the end
_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """`log.info("connected", extra={"url": …})` becomes {"time", "level", "logger", "message", "url"}."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()


class _Queue(logging.handlers.QueueHandler):
    """Hands records over as they are; formatting happens in the writing thread."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], queue.Full):
            super().handleError(record)


class _Writer(logging.handlers.QueueListener):
    """Writes from a thread; ends within seconds even where nobody reads the pipe."""

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):
            # The type information knows neither the sentinel nor that the queue has a time limit.
            self.queue.put(self._sentinel, timeout=_PATIENCE)  # type: ignore[attr-defined]  # the stubs leave it out
            thread.join(_PATIENCE)


def configure(level: str = "INFO", stream: TextIO | None = None) -> logging.handlers.QueueListener:
    """Send everything logged to `stream` (standard error). The listener's `stop()` writes what is left."""
    writer = logging.StreamHandler(stream or sys.stderr)
    writer.setFormatter(JsonFormatter())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(KEPT)
    listener = _Writer(waiting, writer)
    listener.start()
    root = logging.getLogger()
    root.handlers = [_Queue(waiting)]
    root.setLevel(level.upper())
    atexit.register(listener.stop)
    return listener
