"""Functions read queues: messages are collected for the mapping's window on the clock, then handed over as one batch.

As the function's role, which must be allowed to. A batch that failed comes back when its messages are visible again.
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from . import account
from .acting import Acting
from .clock import Clock
from .functions import Functions

_LOOK_SECONDS = 0.25
_AT_ONCE = 10  # messages in an answer of ReceiveMessage


@dataclass(frozen=True)
class _Source:
    """A queue that a function reads."""

    id: str
    region: str
    function: str
    queue: str
    size: int
    window: float


class EventSources:
    """Reads queues for functions.

    :param clock: what windows are measured on
    :param moto: held while moto's tables are looked at
    """

    def __init__(
        self,
        clock: Clock,
        moto: AbstractContextManager[Any],
        acting: Acting,
        functions: Functions,
        log: Callable[[str], None],
    ) -> None:
        self._clock, self._moto, self._acting, self._functions, self._log = clock, moto, acting, functions, log
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}  # mapping: when its window ends
        self._busy: set[str] = set()
        threading.Thread(target=self._work, daemon=True, name="event sources").start()

    def waiting(self) -> list[float]:
        """When batches are handed over, as timestamps of the clock, soonest first."""
        with self._lock:
            return sorted(self._due.values())

    def forget(self) -> None:
        """Drop open windows: the account was reset."""
        with self._lock:
            self._due.clear()

    def _work(self) -> None:
        while True:
            self._clock.wait(_LOOK_SECONDS)
            try:
                for source in self._ready():
                    threading.Thread(target=self._hand_over, args=(source,), daemon=True).start()
            except Exception as error:  # one mapping must not stop the others
                self._log(f"event sources: {error!r}")

    def _ready(self) -> list[_Source]:
        """Sources whose window has ended, or whose batch is full."""
        with self._moto:
            found = [
                (
                    _Source(
                        mapping.uuid,
                        region,
                        mapping.function_arn,
                        mapping.event_source_arn,
                        int(mapping.batch_size),
                        float(mapping.max_batch_window or 0),
                    ),
                    account.visible_messages(mapping.event_source_arn),
                )
                for region, mapping in account.event_sources()
                if mapping.enabled
            ]
        now = self._clock.timestamp()
        ready = []
        with self._lock:
            for source, messages in found:
                if source.id in self._busy or not messages:
                    continue
                due = self._due.setdefault(source.id, now + source.window)
                if now >= due or messages >= source.size:
                    del self._due[source.id]
                    self._busy.add(source.id)
                    ready.append(source)
            known = {source.id for source, _messages in found}
            self._due = {id_: due for id_, due in self._due.items() if id_ in known}
        return ready

    def _hand_over(self, source: _Source) -> None:
        try:
            with self._moto:
                function = account.function(source.region, source.function)
                url = account.queue_url(source.queue, self._acting.endpoint())
                credentials = account.assume(function.role, function.function_name, source.region) if function else None
            if credentials is None:
                return
            sqs = self._acting.client("sqs", source.region, credentials)
            messages = _receive(sqs, url, source.size)
            if not messages:
                return
            event = {"Records": [_record(message, source) for message in messages]}
            outcome = self._functions.run(source.region, source.function, event)
            if outcome is not None and not outcome.error:
                for message in messages:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        except Exception as error:  # the messages come back, as on AWS
            self._log(f"event source {source.queue}: {error}")
        finally:
            with self._lock:
                self._busy.discard(source.id)


def _receive(sqs: Any, url: str, most: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while len(messages) < most:
        wanted = min(_AT_ONCE, most - len(messages))
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=wanted, WaitTimeSeconds=0, AttributeNames=["All"]
        )
        messages += answer.get("Messages", [])
        if len(answer.get("Messages", [])) < wanted:
            break
    return messages


def _record(message: dict[str, Any], source: _Source) -> dict[str, Any]:
    """A message as the function gets it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": source.queue,
        "awsRegion": source.region,
    }
