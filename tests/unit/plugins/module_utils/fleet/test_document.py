# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The document in the function's parameter: what another version has written is refused, never interpreted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.algo.trading.plugins.filter.fleet import fleet_document as filtered
from ansible_collections.algo.trading.plugins.module_utils.fleet import document
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import SettingsError

BASE: dict[str, Any] = {"project": "algo-trading", "environment": "qa"}
FLEET = document.fleet_document({**BASE, "source": {"bucket": "models"}})


def test_what_is_stored_comes_back() -> None:
    assert document.load_document(document.dump_document(FLEET)) == FLEET
    assert FLEET["source"]["prefix"] == "models/"
    assert FLEET["max_terminate_share"] == 0.2


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ("", "It is not JSON"),
        ("[]", "It is not a dictionary"),
        # As versions before the schema wrote it.
        (
            json.dumps({**BASE, "image_id": "ami-1"}),
            "It has schema 1 and this version reads schema 2: an older version",
        ),
        (json.dumps({"schema": 3, "fleet": FLEET}), "It has schema 3 and this version reads schema 2: another version"),
        (json.dumps({"schema": "2", "fleet": FLEET}), "It has schema '2'"),
        (
            json.dumps({"schema": 2, "fleet": BASE}),
            "Another version wrote it. It has no action_batch, claim_grace",
        ),
        (json.dumps({"schema": 2, "fleet": []}), "Another version wrote it"),
        (json.dumps({"schema": 2, "fleet": {**FLEET, "colour": "red"}}), "colour is not a known setting"),
        (json.dumps({"schema": 2, "fleet": {**FLEET, "once": {"force": True}}}), "once is not a known setting"),
        (json.dumps({"schema": 2, "fleet": {**FLEET, "power": "on"}}), "power must be one of running, keep, stopped"),
    ],
)
def test_what_this_version_would_not_have_written_is_refused(stored: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        document.load_document(stored)
    assert says in str(refused.value)


def test_a_document_that_no_parameter_can_hold_is_refused_before_the_run() -> None:
    with pytest.raises(SettingsError, match=r"take \d+ bytes; an SSM parameter holds 8192. Shorten user_data"):
        document.dump_document(document.fleet_document({**BASE, "user_data": "#!/bin/sh\n" + "x" * 9000}))


def test_the_function_opens_the_day() -> None:
    for difference in document.DIFFERENCES:
        stored = document.fleet_document({**BASE, difference.option: difference.module})
        assert getattr(document.function_settings(stored), difference.option) == difference.function
        assert difference.why
    assert document.function_settings({**FLEET, "power": "stopped"}).power == "stopped"


def test_the_filter_takes_what_the_command_line_gives() -> None:
    given = {
        **BASE,
        "max_terminate_share": "0.5",
        "monitoring": "yes",
        "root_volume": {"size": "20"},
        "tags": {"Team": 7},
    }
    assert filtered(given) == document.fleet_document(
        {**BASE, "max_terminate_share": 0.5, "monitoring": True, "root_volume": {"size": 20}, "tags": {"Team": "7"}}
    )
    with pytest.raises(AnsibleFilterError, match="max_terminate_share must be between 0 and 1, not 2"):
        filtered({**BASE, "max_terminate_share": "2"})
