# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns of each kind of message: one table, from which decoding, Parquet and Athena's tables follow.

All times are UTC with nanoseconds. `raw` is the message as it came; a message of which a field has an unexpected type
has only the common columns and `raw`, so that nothing is lost to a change at the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple, Union

import msgspec
import pyarrow as pa

from alpaca_websocket.protocol import CHANNELS, NEWS, TRADE_UPDATES, Message, symbols_of

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Level(msgspec.Struct, gc=False):
    """A price of an order book, and the size there; 0 removes it."""

    p: float
    s: float


class Time(msgspec.Struct):
    """Marks a field that is a time; it comes as RFC 3339."""


class Field(NamedTuple):
    """A field of the protocol and its column.

    `comes_as`: what JSON may hold, where that is not the column's own type. `convert` then makes a column's values.
    """

    name: str
    column: str
    type: Any
    comes_as: Any = None
    convert: Callable[[list[Any]], Any] = list


def times(texts: Sequence[str | None]) -> pa.Array:
    """RFC 3339 → timestamps; null for what is none."""
    array = pa.array(texts, pa.string())
    try:
        return array.cast(_TIME)
    except pa.ArrowInvalid:
        return pa.concat_arrays([_time(text) for text in texts])


def _time(text: str | None) -> pa.Array:
    try:
        return pa.array([text], pa.string()).cast(_TIME)
    except pa.ArrowInvalid:
        return pa.nulls(1, _TIME)


def _conditions(values: list[Any]) -> list[Any]:
    return [[value] if isinstance(value, str) else value for value in values]


def _numbers(values: list[Any]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: str | float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _levels(values: list[Any]) -> list[Any]:
    return [value and [(level.p, level.s) for level in value] for value in values]


_TIME = pa.timestamp("ns", "UTC")
_LEVELS = pa.list_(pa.struct([("price", pa.float64()), ("size", pa.float64())]))
_ARROW = {
    Integer: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    list[str]: pa.list_(pa.string()),
    list[Level]: _LEVELS,
    Time: _TIME,
}
_HIVE = {
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.string(): "string",
    pa.bool_(): "boolean",
    _TIME: "timestamp",
    pa.list_(pa.string()): "array<string>",
    _LEVELS: "array<struct<price:double,size:double>>",
}

_TAPE = Field("z", "tape", str)
# A list with stocks, a text with options.
_CONDITIONS = Field("c", "conditions", list[str], list[str] | str, _conditions)
_BAR = (
    Field("o", "open", float),
    Field("h", "high", float),
    Field("l", "low", float),
    Field("c", "close", float),
    Field("v", "volume", float),
    Field("n", "trade_count", Integer),
    Field("vw", "vwap", float),
)
# Sizes and volumes are floats: there are fractional shares.
FIELDS: dict[str, tuple[Field, ...]] = {
    "t": (
        Field("i", "id", Integer),
        Field("x", "exchange", str),
        Field("p", "price", float),
        Field("s", "size", float),
        _CONDITIONS,
        _TAPE,
        Field("tks", "taker_side", str),  # crypto
    ),
    "q": (
        Field("ax", "ask_exchange", str),
        Field("ap", "ask_price", float),
        Field("as", "ask_size", float),
        Field("bx", "bid_exchange", str),
        Field("bp", "bid_price", float),
        Field("bs", "bid_size", float),
        _CONDITIONS,
        _TAPE,
    ),
    "b": _BAR,
    "u": _BAR,
    "d": _BAR,
    "s": (
        Field("sc", "status_code", str),
        Field("sm", "status_message", str),
        Field("rc", "reason_code", str),
        Field("rm", "reason_message", str),
        _TAPE,
    ),
    "l": (
        Field("u", "limit_up", float),
        Field("d", "limit_down", float),
        Field("i", "indicator", str),
        _TAPE,
    ),
    "c": (
        Field("x", "exchange", str),
        Field("oi", "original_id", Integer),
        Field("op", "original_price", float),
        Field("os", "original_size", float),
        Field("oc", "original_conditions", list[str]),
        Field("ci", "corrected_id", Integer),
        Field("cp", "corrected_price", float),
        Field("cs", "corrected_size", float),
        Field("cc", "corrected_conditions", list[str]),
        _TAPE,
    ),
    "x": (
        Field("i", "id", Integer),
        Field("x", "exchange", str),
        Field("p", "price", float),
        Field("s", "size", float),
        Field("a", "action", str),
        _TAPE,
    ),
    "o": (
        Field("b", "bids", list[Level], None, _levels),
        Field("a", "asks", list[Level], None, _levels),
        Field("r", "reset", bool),
    ),
    NEWS: (
        Field("id", "id", Integer),
        Field("headline", "headline", str),
        Field("summary", "summary", str),
        Field("author", "author", str),
        Field("created_at", "created_at", Time, str, times),
        Field("url", "url", str),
        Field("content", "content", str),
        Field("symbols", "symbols", list[str]),
        Field("source", "source", str),
    ),
    # The names of nested objects are with a dot. Alpaca writes the numbers of orders as texts.
    TRADE_UPDATES: (
        Field("data.event", "event", str),
        Field("data.execution_id", "execution_id", str),
        Field("data.price", "price", float, str | float, _numbers),
        Field("data.qty", "quantity", float, str | float, _numbers),
        Field("data.position_qty", "position_quantity", float, str | float, _numbers),
        Field("data.order.id", "order_id", str),
        Field("data.order.client_order_id", "client_order_id", str),
        Field("data.order.side", "side", str),
        Field("data.order.type", "order_type", str),
        Field("data.order.status", "order_status", str),
        Field("data.order.filled_qty", "filled_quantity", float, str | float, _numbers),
        Field("data.order.filled_avg_price", "filled_average_price", float, str | float, _numbers),
    ),
}
# The field that tells a message's time and, where it has no symbol `S` of its own, what stands for it.
_AT = {NEWS: "updated_at"}
ALL_DIFFERENT = ("sequence", "timestamp", "received_at", "raw")  # a dictionary of them would only cost
_COMMON = [
    pa.field("sequence", pa.int64(), nullable=False),
    pa.field("symbol", pa.string(), nullable=False),
    pa.field("timestamp", _TIME),
    pa.field("received_at", _TIME, nullable=False),
    pa.field("backfilled", pa.bool_(), nullable=False),
]


@cache
def arrow_schema(kind: str) -> pa.Schema:
    """The columns of a kind's Parquet files, in order."""
    own = [pa.field(field.column, _ARROW[field.type]) for field in FIELDS[kind]]
    return pa.schema([*_COMMON, *own, pa.field("raw", pa.string(), nullable=False)])


def attribute(name: str) -> str:
    """A struct's field can't be called by a word of Python's."""
    return f"{name}_" if name == "as" else name


def _row_type(kind: str) -> type[msgspec.Struct]:
    common = [("S", str, ""), ("t", str | None, None), ("backfilled", bool, False)]
    return msgspec.defstruct(
        f"Row_{kind}",
        [*common, *_members(f"Row_{kind}", [(field.name, field) for field in FIELDS[kind]])],
        rename={attribute("as"): "as", "t": _AT.get(kind, "t")},
        tag_field="T",
        tag=kind,
        gc=False,
    )


def _members(name: str, fields: Sequence[tuple[str, Field]]) -> list[tuple[str, Any, Any]]:
    """A struct's members: its own fields, and a struct for what is nested."""
    found: list[tuple[str, Any, Any]] = []
    nested: dict[str, list[tuple[str, Field]]] = {}
    for path, field in fields:
        first, dot, rest = path.partition(".")
        if dot:
            nested.setdefault(first, []).append((rest, field))
        else:
            found.append((attribute(first), (field.comes_as or field.type) | None, None))
    for first, inner in nested.items():
        struct = msgspec.defstruct(f"{name}_{first}", _members(f"{name}_{first}", inner), gc=False)
        found.append((first, struct, msgspec.field(default_factory=struct)))
    return found


# What a message of each kind is decoded into: `S`, `t`, `backfilled` and its own fields, by the protocol's names.
ROWS = {kind: _row_type(kind) for kind in CHANNELS}
KIND_OF = {row: kind for kind, row in ROWS.items()}
ROW: Any = Union[tuple(ROWS.values())]  # noqa: UP007 made of what is known at run time only


def symbols(kind: str, rows: Sequence[Any]) -> list[str]:
    """The symbol column: for news all symbols, with commas, as `protocol.Pair` has them."""
    return [",".join(row.symbols or ()) for row in rows] if kind == NEWS else [row.S for row in rows]


def bare(message: Message) -> Any:
    """A row of nothing but the common columns."""
    if message.kind == NEWS:
        return ROWS[NEWS](symbols=list(symbols_of((NEWS, message.symbol))))
    return ROWS[message.kind](S=message.symbol)


def table(kind: str) -> str:
    """A table's name for a kind, in the lower case that Athena knows only."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in CHANNELS[kind])


def athena_table(kind: str, table: str, location: str, first_date: str) -> str:
    """DDL of an Athena table over one kind, with projected partitions: no crawler, no MSCK REPAIR.

    location: s3://bucket/prefix without the partitions.
    """
    columns = ",\n".join(f"  `{field.name}` {_HIVE[field.type]}" for field in arrow_schema(kind))
    home = f"{location.rstrip('/')}/kind={CHANNELS[kind]}"
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{table}` (\n{columns}\n)\n"
        "PARTITIONED BY (`date` string)\n"
        "STORED AS PARQUET\n"
        f"LOCATION '{home}/'\n"
        "TBLPROPERTIES (\n"
        "  'projection.enabled' = 'true',\n"
        "  'projection.date.type' = 'date',\n"
        "  'projection.date.format' = 'yyyy-MM-dd',\n"
        f"  'projection.date.range' = '{first_date},NOW+1DAYS',\n"
        f"  'storage.location.template' = '{home}/date=${{date}}/'\n"
        ")"
    )
