# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.module_utils._tags import identity_tags
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import FOREIGN, RIVAL, Identity, standing

IDENTITY = Identity(identity_tags("algo", "qa", "trading_server"), "algo-trading-server-qa")
SERVES = {"Model": "momentum/GOOG/sma-outer_0_inner_0", "ManagedBy": "terraform"}


@pytest.mark.parametrize(
    ("tags", "profile", "kind"),
    [
        ({"Project": "algo", "Environment": "qa"}, "", RIVAL),
        ({"Environment": "qa"}, "", RIVAL),
        # A name or profile of this fleet counts where the tags are spelled otherwise.
        ({"Project": "Algo", "Environment": "QA", "Name": "algo-trading-server-qa-goog"}, "", RIVAL),
        ({}, "algo-trading-server-qa", RIVAL),
        ({"Project": "Algo", "Environment": "QA"}, "", FOREIGN),
        ({"Environment": "prod", "Name": "algo-trading-server-prod-goog"}, "", FOREIGN),
    ],
)
def test_what_another_tool_made_for_a_model_here_is_found(tags: dict[str, str], profile: str, kind: str) -> None:
    assert standing(Instance("i-1", tags={**SERVES, **tags}, profile=profile), IDENTITY).kind == kind
