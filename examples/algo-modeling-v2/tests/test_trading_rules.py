"""What the trading code decides, without processes."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("alpaca", reason="the trading code needs alpaca-py")

from algo_trader import config, decide
from algo_trader.book import Book, Unexplained
from algo_trader.broker import Order
from algo_trader.config import Limits, Refusal
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits(max_position=1000, max_order=300, max_daily_loss=10)
GOOD: dict[str, Any] = {
    "format": "algo-trading/config/1", "environment": "dev", "symbol": "AAPL", "feed_url": "ws://feed",
    "model": {"name": "a/AAPL/m-outer_0_inner_0", "version": "1", "path": "/m"}, "credentials": "keys",
    "broker": {"url": "https://broker", "paper": True}, "flatten_on_drain": False, "drain_seconds": 30,
    "limits": {"max_position": 1000, "max_order": 500, "max_daily_loss": 50.5}, "loop_seconds": 30,
    "state_dir": "/s", "run_dir": "/r",
}  # fmt: skip


def load(tmp_path: Path, text: str) -> config.Config:
    (tmp_path / "config.json").write_text(text)
    return config.load({"ALGO_CONFIG": str(tmp_path / "config.json")})


def test_a_configuration_is_read_completely(tmp_path: Path) -> None:
    found = load(tmp_path, json.dumps(GOOD))
    assert (found.limits.max_daily_loss, found.bars, found.model.name) == (50.5, "daily", GOOD["model"]["name"])


def test_what_a_host_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "roles" / "trading_server" / "files"))
    from algo_host import configuration, imds, places, settings

    told = {name: GOOD[name] for name in ("feed_url", "broker", "limits", "flatten_on_drain", "drain_seconds")}
    told |= {name: "x" for name in ("region", "model_bucket", "broker_secret", "halt_parameter", "log_group")}
    fleet = {"project": "p", "environment": "dev", "component": "trading_server"}
    given = settings.parse_settings({**fleet, "configuration": {**told, "loop_seconds": 30, "bars": "minute"}}, "here")
    claim = imds.Claim("i-1", GOOD["model"]["name"], "s3://bucket/models", "1", "AAPL")
    written = configuration.trader_configuration(given, claim, Path("/m"), places.Places())
    found = load(tmp_path, json.dumps(written))
    assert (found.model.name, found.bars, found.limits.max_order) == (claim.model, "minute", 500)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("limits.max_order", "many", "limits.max_order must be a positive number"),
        ("limits.max_order", -1, "limits.max_order must be a positive number"),
        ("limits.max_loss", 1, "Unknown fields: limits.max_loss"),
        ("drain_seconds", 1.5, "drain_seconds must be a positive integer"),
        ("flatten_on_drain", 1, "flatten_on_drain must be true or false"),
        ("model", None, "model must be an object"),
        ("symbol", "", "symbol is empty"),
        ("environment", "test", "environment must be one of local, dev, qa, prod, not 'test'"),
        ("bars", "hourly", "bars must be one of daily, minute, not 'hourly'"),
        ("credentials", "../keys", "credentials must be the name of a file in CREDENTIALS_DIRECTORY, not a path"),
        ("format", "algo-trading/config/2", "format is 'algo-trading/config/2', not 'algo-trading/config/1'"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path: Path, field: str, value: Any, message: str) -> None:
    wrong = copy.deepcopy(GOOD)
    part = wrong
    *outer, last = field.split(".")
    for name in outer:
        part = part[name]
    part[last] = value
    with pytest.raises(Refusal) as refusal:
        load(tmp_path, json.dumps(wrong))
    assert str(refusal.value) == message


@pytest.mark.parametrize("field", sorted(GOOD))
def test_a_missing_field_is_refused_by_name(tmp_path: Path, field: str) -> None:
    with pytest.raises(Refusal, match=f"^Missing fields: {field}$"):
        load(tmp_path, json.dumps({name: value for name, value in GOOD.items() if name != field}))


shares = st.integers(-50, 50)


@given(shares, shares, shares, st.floats(1, 2000))
def test_an_order_keeps_the_limits_and_never_crosses_zero(wanted: int, held: int, account: int, price: float) -> None:
    qty = decide.step(wanted, held, account, price, LIMITS).qty
    assert abs(qty) * price <= LIMITS.max_order or abs(qty) == 1
    assert held * (held + qty) >= 0
    assert account * (account + qty) >= 0 or account == 0
    assert abs(wanted - held - qty) <= abs(wanted - held)


@given(shares, shares)
def test_a_halt_opens_and_enlarges_nothing(wanted: int, held: int) -> None:
    allowed = decide.allowed(wanted, held, reduce_only=True, close=False)
    assert abs(allowed) <= abs(held)
    assert allowed * held >= 0
    assert decide.allowed(wanted, held, reduce_only=False, close=True) == 0


@given(st.sampled_from([-1, 0, 1]), shares, st.floats(1, 2000))
def test_a_target_keeps_max_position(signal: int, before: int, price: float) -> None:
    target = decide.target(signal, before, price, LIMITS)
    assert abs(target) * price <= LIMITS.max_position
    assert target * signal >= 0


class Paper:
    """The two answers that a book is made from."""

    def __init__(self, *orders: tuple[str, int], position: int | None = None) -> None:
        self.held = position
        at = datetime(2026, 11, 25, tzinfo=UTC)
        self.found = [
            Order(name, name, 1 if qty > 0 else -1, Decimal(abs(qty)), Decimal(abs(qty)), Decimal(10), "filled", at)
            for name, qty in orders
        ]

    def orders(self, after: datetime | None = None) -> list[Order]:
        return self.found

    def position(self) -> Decimal:
        explained = sum((order.signed_fill for order in self.found), Decimal(0))
        return explained if self.held is None else Decimal(self.held)


def test_a_number_is_used_again_until_the_broker_has_it() -> None:
    book = Book("m:", sequence=3)
    book.refresh(Paper(("m:1", 5), ("m:2", -2), ("n:7", 4)))
    assert book.position == 3
    assert book.next_id() == "m:3"  # written down, and not known to have arrived
    book.refresh(Paper(("m:1", 5), ("m:2", -2), ("n:7", 4), ("m:3", 1)))
    assert (int(book.position), book.next_id()) == (4, "m:4")


def test_a_new_host_takes_its_position_from_the_broker_and_an_operators_correction_counts() -> None:
    book = Book("m:")
    book.refresh(Paper(("m:1", 5), ("m:10", 2), ("m:by hand", -7), ("mm:11", 4)))
    assert (int(book.position), int(book.account), book.next_id()) == (0, 4, "m:11")


def test_another_process_and_an_unknown_position_are_not_explained() -> None:
    with pytest.raises(Unexplained, match="m:4 was placed by another process"):
        Book("m:", sequence=3).refresh(Paper(("m:4", 1)))
    split = Paper(("m:1", 5), position=20)
    with pytest.raises(Unexplained, match="the account holds 20 shares and its orders explain 5"):
        Book("m:").refresh(split)
