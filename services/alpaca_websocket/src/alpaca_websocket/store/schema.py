# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns of each kind of message: one table, from which decoding, Parquet and Athena's tables follow.

All times are UTC with nanoseconds. `raw` is the message as it came; a message of which a field has an unexpected type
has only the common columns and `raw`, so that nothing is lost to a change at the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple, Union

import msgspec
import pyarrow as pa

from alpaca_websocket.protocol import CHANNELS

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Field(NamedTuple):
    """A field of the protocol and its column."""

    name: str
    column: str
    type: Any


_TIME = pa.timestamp("ns", "UTC")
_ARROW = {Integer: pa.int64(), float: pa.float64(), str: pa.string(), list[str]: pa.list_(pa.string())}
_HIVE = {
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.string(): "string",
    pa.bool_(): "boolean",
    _TIME: "timestamp",
    pa.list_(pa.string()): "array<string>",
}

_TAPE = Field("z", "tape", str)
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
        Field("c", "conditions", list[str]),
        _TAPE,
    ),
    "q": (
        Field("ax", "ask_exchange", str),
        Field("ap", "ask_price", float),
        Field("as", "ask_size", float),
        Field("bx", "bid_exchange", str),
        Field("bp", "bid_price", float),
        Field("bs", "bid_size", float),
        Field("c", "conditions", list[str]),
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
}
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
    own = [(attribute(field.name), field.type | None, None) for field in FIELDS[kind]]
    return msgspec.defstruct(
        f"Row_{kind}",
        [("S", str, ""), ("t", str | None, None), ("backfilled", bool, False), *own],
        rename={attribute("as"): "as"},
        tag_field="T",
        tag=kind,
        gc=False,
    )


# What a message of each kind is decoded into: `S`, `t`, `backfilled` and its own fields, by the protocol's names.
ROWS = {kind: _row_type(kind) for kind in CHANNELS}
KIND_OF = {row: kind for kind, row in ROWS.items()}
ROW: Any = Union[tuple(ROWS.values())]  # noqa: UP007 made of what is known at run time only


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
