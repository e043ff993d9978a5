# SPDX-License-Identifier: GPL-3.0-or-later
"""What only crypto, options, news and the account's own orders have: columns, and what comes back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from alpaca_websocket import protocol
from alpaca_websocket.store import Store
from store_kit import parquet, settings, until

# As Alpaca documents them; the last one as we keep it, see trading.py.
BOOK = (
    b'{"T":"o","S":"BTC/USD","t":"2026-11-23T10:38:50.796132212Z","b":[{"p":71859.53,"s":0.27994}],'
    b'"a":[{"p":71939.7,"s":0.83953},{"p":71940,"s":0}],"r":true}'
)
COIN = b'{"T":"t","S":"BTC/USD","p":71859.53,"s":0.0001,"t":"2026-11-23T10:38:50.796132212Z","i":8456218,"tks":"B"}'
OPTION = b'{"T":"t","S":"AAPL261218C00172500","t":"2026-11-23T13:35:35.133122562Z","p":2.84,"s":1,"x":"N","c":"S"}'
ARTICLE = (
    b'{"T":"n","id":24918784,"headline":"Corsair Reports","summary":"In short","author":"B",'
    b'"created_at":"2026-11-23T22:00:37Z","updated_at":"2026-11-23T22:00:38Z","url":"https://example.com/1",'
    b'"content":"<p>Long</p>","symbols":["CRSR","LOGI"],"source":"benzinga"}'
)
NOBODYS = (
    b'{"T":"n","id":24918785,"headline":"Of nobody","created_at":"2026-11-23T22:00:37Z",'
    b'"updated_at":"2026-11-23T22:00:39Z","symbols":[]}'
)
FILL = (
    b'{"T":"trade_updates","S":"AAPL","t":"2026-11-23T15:38:22.314318-05:00","stream":"trade_updates","data":'
    b'{"event":"fill","price":"179.08","qty":"100","position_qty":"100","timestamp":"2026-11-23T20:38:22.314318Z",'
    b'"order":{"id":"7b7653c4","client_order_id":"mine","side":"buy","type":"market","status":"filled",'
    b'"filled_qty":"100","filled_avg_price":"179.08","symbol":"AAPL","legs":null}}}'
)
COLUMNS: list[tuple[bytes, str, dict[str, Any]]] = [
    (BOOK, "orderbooks", {
        "symbol": "BTC/USD", "bids": [{"price": 71859.53, "size": 0.27994}],
        "asks": [{"price": 71939.7, "size": 0.83953}, {"price": 71940.0, "size": 0.0}], "reset": True,
    }),
    (COIN, "trades", {"symbol": "BTC/USD", "id": 8456218, "taker_side": "B", "conditions": None}),
    (OPTION, "trades", {"symbol": "AAPL261218C00172500", "conditions": ["S"], "exchange": "N"}),
    (ARTICLE, "news", {"symbol": "CRSR,LOGI", "symbols": ["CRSR", "LOGI"], "id": 24918784, "author": "B"}),
    (FILL, "trade_updates", {
        "symbol": "AAPL", "event": "fill", "price": 179.08, "quantity": 100.0, "order_id": "7b7653c4",
        "client_order_id": "mine", "filled_quantity": 100.0, "order_status": "filled",
    }),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "channel", "wanted"), COLUMNS, ids=lambda value: value if str(value) == value else "")
def test_each_has_its_columns(tmp_path: Path, raw: bytes, channel: str, wanted: dict[str, Any]) -> None:
    with_store(tmp_path, raw)
    (path,) = parquet(tmp_path)
    assert path.parent.parent.name == f"kind={channel}"
    assert path.parent.name == "date=2026-11-23"
    (row,) = pq.read_table(path, partitioning=None).to_pylist()
    assert {name: row[name] for name in wanted} == wanted
    assert row["timestamp"].date().isoformat() == "2026-11-23"
    assert row["raw"] == raw.decode()


@pytest.mark.parametrize("rolled", [False, True], ids=["from the journal", "from Parquet"])
def test_news_is_found_by_any_of_its_symbols(tmp_path: Path, rolled: bool) -> None:
    if rolled:
        with_store(tmp_path, ARTICLE, NOBODYS)
    store = Store.open(settings(tmp_path))
    if not rolled:
        store.append(protocol.split(b"[%b,%b]" % (ARTICLE, NOBODYS)).data, time.time_ns())
        until(lambda: store.flush(60), "it to be durable")

    def found(*symbols: str) -> list[bytes]:
        return [item.message.raw for item in store.replay("n", symbols or None)]

    assert found("LOGI", "AAPL") == [ARTICLE]
    assert found("AAPL") == []
    assert found() == [ARTICLE, NOBODYS]
    store.close()


def with_store(directory: Path, *raws: bytes) -> None:
    store = Store.open(settings(directory))
    frame = protocol.split(b"[%b]" % b",".join(raws))
    assert (len(frame.data), frame.malformed) == (len(raws), 0)
    store.append(frame.data, time.time_ns())
    store.close()
