#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_event_invoke_config
version_added: 0.1.0
short_description: Manage how AWS Lambda handles asynchronous invocations of a function
description:
  - Sets for how long and how often Lambda tries an asynchronous invocation, and where the record of one goes that
    succeeded or was given up.
  - Options that are left out keep their values; where there was no configuration yet, they have AWS's defaults.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the function.
    type: str
    required: true
  qualifier:
    description: A version or alias of the function. Its latest version, if not given.
    type: str
  state:
    description: Whether there should be a configuration. Without one, AWS's defaults are in force.
    type: str
    choices: [present, absent]
    default: present
  maximum_retry_attempts:
    description: How often Lambda tries again after an error of the function, 0 to 2. AWS's default is 2.
    type: int
  maximum_event_age_in_seconds:
    description: For how long an event is kept for another try, 60 to 21600. AWS's default is 21600.
    type: int
  on_failure:
    description:
      - ARN of the queue, topic, bus, bucket or function that gets the record of an invocation that was given up.
        Empty for none. The function's role must be allowed to send there.
    type: str
  on_success:
    description: The same for invocations that succeeded.
    type: str
attributes:
  check_mode:
    description: Reads only. The function need not exist.
    support: full
  diff_mode:
    description: Shows the configuration before and after.
    support: full
notes:
  - M(amazon.aws.lambda) sets a dead-letter queue, which gets the event alone. A destination gets the error as well.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: amazon.aws.lambda
"""

EXAMPLES = r"""
- name: Keep what was given up in a queue
  algo.trading.lambda_event_invoke_config:
    name: algo-trading-trading-server-shutdown-qa
    on_failure: arn:aws:sqs:us-east-1:123456789012:algo-trading-trading-server-shutdown-qa

- name: Forget events that are older than a quarter of an hour
  algo.trading.lambda_event_invoke_config:
    name: algo-trading-trading-server-shutdown-qa
    maximum_event_age_in_seconds: 900

- name: Go back to AWS's defaults
  algo.trading.lambda_event_invoke_config:
    name: algo-trading-trading-server-shutdown-qa
    state: absent
"""

RETURN = r"""
event_invoke_config:
  description: The configuration, in check mode as it would be. Empty where there is none.
  returned: always
  type: dict
  contains:
    maximum_retry_attempts:
      description: How often Lambda tries again.
      returned: when there is a configuration
      type: int
      sample: 2
    maximum_event_age_in_seconds:
      description: For how long an event is kept.
      returned: when there is a configuration
      type: int
      sample: 21600
    on_failure:
      description: Where the record of a given-up invocation goes.
      returned: when there is a configuration
      type: str
      sample: arn:aws:sqs:us-east-1:123456789012:algo-trading-trading-server-shutdown-qa
    on_success:
      description: Where the record of a successful invocation goes.
      returned: when there is a configuration
      type: str
      sample: ''
"""

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.algo.trading.plugins.module_utils.aws_module import Outcome, run_module
from ansible_collections.algo.trading.plugins.module_utils.lambda_event_invoke import (
    MISSING,
    delete_config,
    find_invocation,
    put_config,
)

DEFAULTS: dict[str, Any] = {
    "maximum_retry_attempts": 2,
    "maximum_event_age_in_seconds": 21600,
    "on_failure": "",
    "on_success": "",
}
LIMITS = {"maximum_retry_attempts": (0, 2), "maximum_event_age_in_seconds": (60, 21600)}


def option_problem(params: dict[str, Any]) -> str | None:
    for option, (least, most) in LIMITS.items():
        value = params[option]
        if value is not None and not least <= value <= most:
            return f"{option} must be {least} to {most}, not {value}"
    return None


def ensure_absent(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    before = find_invocation(api, params["name"], params["qualifier"])
    if not before:
        return Outcome(False, {}, {})
    return Outcome(check_mode or delete_config(api, params["name"], params["qualifier"]), before, {})


def ensure_present(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    before = find_invocation(api, params["name"], params["qualifier"])
    given = {option: params[option] for option in DEFAULTS if params[option] is not None}
    after = {**DEFAULTS, **before, **given}
    if before == after:
        return Outcome(False, before, before)
    if not check_mode:
        put_config(api, params["name"], params["qualifier"], after)
    return Outcome(True, before, after)


def main() -> None:
    run_module(
        service="lambda",
        missing=MISSING,
        result="event_invoke_config",
        options={
            "qualifier": {"type": "str"},
            "maximum_retry_attempts": {"type": "int"},
            "maximum_event_age_in_seconds": {"type": "int"},
            "on_failure": {"type": "str"},
            "on_success": {"type": "str"},
        },
        problem=option_problem,
        present=ensure_present,
        absent=ensure_absent,
    )


if __name__ == "__main__":
    main()
