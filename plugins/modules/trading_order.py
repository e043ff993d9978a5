#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trading_order
version_added: 0.1.0
short_description: Halt trading, hold servers after the close, or take that back
description:
  - Adds one order to those in an environment's parameter C(halt) of AWS Systems Manager, or takes orders back. Runs,
    functions and hosts obey the parameter.
  - A halt keeps servers from starting and from opening positions. A hold keeps servers running after the close.
  - Two calls. If somebody else writes in the same moment, neither order is lost.
author:
  - The algo.trading authors (@algo-trading)
options:
  parameter:
    description: Name of the parameter.
    type: str
    required: true
  order:
    description:
      - What is ordered. V(resume) takes back the orders for exactly the same O(models), O(symbols) and O(types), or all
        orders if none of the three is given. V(show) only reads.
    type: str
    choices: [halt, hold, resume, show]
    required: true
  models:
    description:
      - Models that it is for, as in the tag C(Model). Without O(models), O(symbols) and O(types) it is for everything.
    type: list
    elements: str
    default: []
  symbols:
    description: Symbols that it is for.
    type: list
    elements: str
    default: []
  types:
    description: Types of models that it is for.
    type: list
    elements: str
    default: []
  until:
    description:
      - When it ends by itself, such as V(18:00) for today, or V(2026-12-24T18:00). Required for a hold.
      - Without it, a halt lasts until it is taken back.
    type: str
    default: ''
  timezone:
    description: Zone of O(until) where it names none.
    type: str
    default: America/New_York
  record:
    description: Who gives it, when and why. Required, except to V(show).
    type: str
    default: ''
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Shows the orders in force before and after.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Halt everything
  algo.trading.trading_order:
    parameter: /algo-trading/qa/halt
    order: halt
    record: 'by the desk, 2026-11-25T15:02:11Z: wrong prices'

- name: Halt one symbol until the afternoon
  algo.trading.trading_order:
    parameter: /algo-trading/qa/halt
    order: halt
    symbols: [AAPL]
    until: '14:00'
    record: 'by the desk, 2026-11-25T15:02:11Z: split'

- name: Keep one server running after the close
  algo.trading.trading_order:
    parameter: /algo-trading/qa/halt
    order: hold
    models: [momentum/AAPL/sma-outer_0_inner_0]
    until: '18:00'
    record: 'by the desk, 2026-11-25T20:31:02Z: looking at its state'

- name: Take the halt of the symbol back
  algo.trading.trading_order:
    parameter: /algo-trading/qa/halt
    order: resume
    symbols: [AAPL]
    record: 'by the desk, 2026-11-25T18:00:00Z: prices are right'
"""

RETURN = r"""
orders:
  description: All orders in force afterwards, in check mode as they would be.
  returned: always
  type: list
  elements: str
  sample: ['halt of symbol AAPL until 2026-11-25T14:00-05:00, by the desk, 2026-11-25T15:02:11Z: split']
until:
  description: When the order ends, with its zone. Empty for one that does not end by itself.
  returned: always
  type: str
  sample: '2026-11-25T18:00:00-05:00'
after:
  description: A minute after the end, in O(timezone), as EventBridge Scheduler takes it. Empty where O(until) is.
  returned: always
  type: str
  sample: '2026-11-25T18:01:00'
value:
  description: The parameter's value.
  returned: always
  type: str
  sample: 'halted by the desk, 2026-11-25T15:02:11Z: wrong prices'
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import (
    HOLD,
    Order,
    OrderError,
    moment,
    read_orders,
)
from ansible_collections.algo.trading.plugins.module_utils.trading_orders import give, read
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def ordered(params: dict[str, Any], now: datetime) -> Order:
    """The order that the module's parameters describe.

    :raises OrderError: if it cannot be meant
    """
    try:
        zone = ZoneInfo(params["timezone"])
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise OrderError(f"{params['timezone']!r} is not a time zone.") from None
    until = moment(params["until"], zone, now) if params["until"] else None
    if params["order"] == HOLD and until is None:
        raise OrderError("A hold needs its end, such as until: '18:00'.")
    scope = {name: tuple(params[name]) for name in ("models", "symbols", "types")}
    return Order(params["order"], params["record"], until=until, **scope)


def _after(order: Order, zone: str) -> str:
    if order.until is None:
        return ""
    return (order.until + timedelta(minutes=1)).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:00")


def main() -> None:
    lists = {name: {"type": "list", "elements": "str", "default": []} for name in ("models", "symbols", "types")}
    module = AnsibleAWSModule(
        argument_spec={
            "parameter": {"type": "str", "required": True},
            "order": {"type": "str", "choices": ["halt", "hold", "resume", "show"], "required": True},
            **lists,
            "until": {"type": "str", "default": ""},
            "timezone": {"type": "str", "default": "America/New_York"},
            "record": {"type": "str", "default": ""},
        },
        required_if=[("order", order, ("record",)) for order in ("halt", "hold", "resume")],
        supports_check_mode=True,
    )
    now = datetime.now(UTC)
    try:
        order = ordered(module.params, now)
        client = module.client("ssm")
        before = read(client, module.params["parameter"])
        if order.do == "show":
            module.exit_json(
                changed=False, orders=read_orders(before.value).in_force(now), until="", after="", value=before.value
            )
        value = give(client, module.params["parameter"], before, order, now, check=module.check_mode)
    except OrderError as error:
        module.fail_json(msg=f"Nothing was changed. {error}")
    except AlgoTradingError as error:
        module.fail_json(msg=str(error))
    was, becomes = (read_orders(text).in_force(now) for text in (before.value, value))
    # What stays in force is no difference; the result names it.
    gone, new = ([one for one in some if one not in others] for some, others in ((was, becomes), (becomes, was)))
    module.exit_json(
        changed=True,
        orders=becomes,
        until=order.until.isoformat() if order.until else "",
        after=_after(order, module.params["timezone"]),
        value=value,
        diff={"before": "".join(f"{line}\n" for line in gone), "after": "".join(f"{line}\n" for line in new)},
    )


if __name__ == "__main__":
    main()
