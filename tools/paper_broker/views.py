"""Account, positions, clock and calendar, in the words of Alpaca's trading API."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, TradingSession

from .account import Account, identity, text

_CALENDAR = Calendar("XNYS")
_CREATED = "2026-01-02T15:00:00Z"


def account(of: Account) -> dict[str, Any]:
    values = [held.qty * of.price(symbol, held) for symbol, held in of.holdings.items()]
    equity, power = text(of.equity()), text(of.buying_power())
    return {
        "id": identity("account", "paper"), "account_number": "PA0000000001", "status": "ACTIVE",
        "crypto_status": "ACTIVE", "currency": "USD", "cash": text(of.cash), "equity": equity, "last_equity": equity,
        "portfolio_value": equity, "buying_power": power, "regt_buying_power": power,
        "daytrading_buying_power": power, "non_marginable_buying_power": text(of.cash), "multiplier": "4",
        "long_market_value": text(sum((value for value in values if value > 0), Decimal(0))),
        "short_market_value": text(sum((value for value in values if value < 0), Decimal(0))),
        "initial_margin": "0", "maintenance_margin": "0", "last_maintenance_margin": "0", "sma": "0",
        "accrued_fees": "0", "daytrade_count": 0, "pattern_day_trader": False, "trading_blocked": False,
        "transfers_blocked": False, "account_blocked": False, "trade_suspended_by_user": False,
        "shorting_enabled": True, "created_at": _CREATED,
    }  # fmt: skip


def position(of: Account, symbol: str) -> dict[str, Any] | None:
    held = of.holding(symbol)
    if not held.qty:
        return None
    price = of.price(symbol, held)
    gain = held.qty * price - held.cost
    part = text(round(gain / abs(held.cost), 6)) if held.cost else "0"
    reserved = sum(
        (order.rest for order in of.open_orders() if order.symbol == symbol and order.sign * held.qty < 0), Decimal(0)
    )
    return {
        "asset_id": identity("asset", symbol), "symbol": symbol, "exchange": "NASDAQ", "asset_class": "us_equity",
        "asset_marginable": True, "qty": text(held.qty), "side": "long" if held.qty > 0 else "short",
        "qty_available": text(held.qty - reserved if held.qty > 0 else held.qty + reserved),
        "avg_entry_price": text(round(held.cost / held.qty, 4)), "cost_basis": text(held.cost),
        "market_value": text(held.qty * price), "current_price": text(price), "lastday_price": text(price),
        "change_today": "0", "unrealized_pl": text(gain), "unrealized_plpc": part,
        "unrealized_intraday_pl": text(gain), "unrealized_intraday_plpc": part,
    }  # fmt: skip


def clock(now: datetime, always: bool, is_open: bool) -> dict[str, Any]:
    """By the exchange's calendar, or a market that is open until a fault closes it."""
    here = now.astimezone(_CALENDAR.zone)
    session = _CALENDAR.at(now)
    coming = next(session for session in _CALENDAR.following(now, 2) if session.opens > now)
    closes = session.closes if session else coming.closes
    if always:
        closes = here + timedelta(days=1)
    return {
        "timestamp": here.isoformat(), "is_open": is_open,
        "next_open": coming.opens.isoformat(), "next_close": closes.isoformat(),
    }  # fmt: skip


def in_session(now: datetime) -> bool:
    return _CALENDAR.at(now) is not None


def calendar(start: date, end: date) -> list[dict[str, str]]:
    days = (start + timedelta(days=number) for number in range(max(0, (end - start).days + 1)))
    return [_day(session) for day in days if (session := _CALENDAR.on(day))]


def _day(session: TradingSession) -> dict[str, str]:
    return {
        "date": session.day.isoformat(), "open": f"{session.opens:%H:%M}", "close": f"{session.closes:%H:%M}",
        "session_open": "0400", "session_close": "2000", "settlement_date": session.day.isoformat(),
    }  # fmt: skip
