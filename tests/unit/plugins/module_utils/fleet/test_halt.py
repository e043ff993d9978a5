# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The halt flag: whatever is not a clear "no" halts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_reason

NOW = datetime(2026, 11, 25, 15, tzinfo=UTC)


class Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class Parameters:
    """SSM with one parameter, or a failure."""

    def __init__(self, value: str | Exception) -> None:
        self._value = value

    def get_parameter(self, *, Name: str) -> dict[str, dict[str, str]]:
        if isinstance(self._value, Exception):
            raise self._value
        return {"Parameter": {"Value": self._value}}


@pytest.mark.parametrize("value", ["false", "False", " off ", "no", "0", "false (resumed by me: ok)"])
def test_a_clear_no_does_not_halt(value: str) -> None:
    assert halt_reason(Parameters(value), "/p/e/halt", now=NOW) == ""


@pytest.mark.parametrize(
    "value", ["true", "2030-01-02 by the desk", "flase", "", "null", "false alarm? keep halted", '{"halt": false}']
)
def test_anything_else_halts_and_is_shown(value: str) -> None:
    assert halt_reason(Parameters(value), "/p/e/halt", now=NOW) == f"trading is halted: /p/e/halt is {value!r}"


def test_a_missing_flag_halts_unless_the_same_run_makes_it() -> None:
    missing = Parameters(Refusal("ParameterNotFound"))
    assert halt_reason(missing, "/p/e/halt", now=NOW) == "trading is halted: /p/e/halt does not exist"
    assert halt_reason(missing, "/p/e/halt", now=NOW, planned="false") == ""
    assert halt_reason(missing, "/p/e/halt", now=NOW, planned="true") == "trading is halted: /p/e/halt is 'true'"


@pytest.mark.parametrize("failure", [Refusal("AccessDeniedException"), TimeoutError("no answer")])
def test_an_unreadable_flag_halts_whatever_is_planned(failure: Exception) -> None:
    reason = halt_reason(Parameters(failure), "/p/e/halt", now=NOW, planned="false")
    assert reason.startswith("trading is halted: /p/e/halt cannot be read: ")


def test_without_a_flag_nothing_halts() -> None:
    assert halt_reason(Parameters(Refusal("AccessDeniedException")), "", now=NOW) == ""
