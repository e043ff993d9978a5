# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that is killed: it stores messages that say their own sequence number, and tells what is durable.

    python writer.py DIRECTORY

For every line on its input it forks a writer, which tells its process number and then the durable sequence numbers.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from alpaca_websocket.protocol import Messages
from alpaca_websocket.store import Store
from store_kit import numbered, settings


def tell(durable: int) -> None:
    try:
        os.write(1, b"%d\n" % durable)
    except BrokenPipeError:  # whoever started us is gone
        os._exit(1)


def write(directory: Path) -> None:
    os.write(1, b"%d\n" % os.getpid())
    store = Store.open(settings(directory, segment_bytes=30_000))
    store.on_durable(tell)
    sequence = store.durable
    while True:
        size = random.randint(1, 12)
        sequence = store.append(Messages.of([numbered(sequence + 1 + i) for i in range(size)]), time.time_ns())
        time.sleep(random.choice((0, 0.002)))  # sometimes several batches in a commit


for _ in sys.stdin:
    child = os.fork()
    if not child:
        write(Path(sys.argv[1]))
    os.waitpid(child, 0)
    print("ended", flush=True)
