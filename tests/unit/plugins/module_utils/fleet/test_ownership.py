# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.module_utils._tags import identity_tags
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import (
    BORROWED,
    FOREIGN,
    MISLABELLED,
    OURS,
    RIVAL,
    Identity,
    standing,
)

NAME, PROD = "algo-trading-server-qa", "algo-trading-server-prod"
OWN = identity_tags("algo", "qa", "trading_server")
IDENTITY = Identity(OWN, NAME)
MODEL = "momentum/GOOG/sma-outer_0_inner_0"


def token(identity: Identity) -> str:
    return f"algo-{identity.mark}-{'0' * 44}-0"


@pytest.mark.parametrize(
    ("tags", "profile", "kind"),
    [
        ({"Project": "algo", "Environment": "qa"}, "", RIVAL),
        ({"Environment": "qa"}, "", RIVAL),
        # Spelled otherwise, or not there at all: nothing says that it is another environment's.
        ({"Project": "Algo", "Environment": "QA"}, "", RIVAL),
        ({"project": "algo", "environment": "qa"}, "", RIVAL),
        ({}, "", RIVAL),
        ({"Project": "algo"}, "", RIVAL),
        ({"Project": "Algo", "Environment": "QA", "Name": f"{NAME}-goog"}, "", RIVAL),
        ({}, NAME, RIVAL),
        ({"Environment": "prod"}, NAME, RIVAL),
        # Another environment's or project's, by one of their tags, by profile or name.
        ({"Environment": "prod", "Name": f"{PROD}-goog"}, "", FOREIGN),
        ({"environment": "PROD"}, "", FOREIGN),
        ({"Project": "other"}, "", FOREIGN),
        ({}, PROD, FOREIGN),
        ({"Environment": "qa"}, PROD, FOREIGN),
        ({"Name": f"{PROD}-goog"}, "", FOREIGN),
    ],
)
@pytest.mark.parametrize("key", ["Model", "model", "MODEL"])
def test_what_another_tool_made_for_a_model_here_is_found(
    tags: dict[str, str], profile: str, kind: str, key: str
) -> None:
    serves = {key: MODEL, "ManagedBy": "terraform"}
    found = standing(Instance("i-1", tags={**serves, **tags}, profile=profile), IDENTITY)
    assert found.kind == kind
    assert found.model == (MODEL if kind == RIVAL else "")


@pytest.mark.parametrize("value", ["t3-laptop", "RTX 4090", "a/b"])
def test_a_machine_whose_model_is_something_else_is_not_reported(value: str) -> None:
    assert standing(Instance("i-1", tags={"model": value, "Name": "office"}), IDENTITY).kind == FOREIGN


@pytest.mark.parametrize(
    ("profile", "name", "kind", "said"),
    [
        (PROD, "", BORROWED, "its instance profile belongs to another fleet"),
        (PROD, f"{NAME}-goog", BORROWED, "its instance profile belongs to another fleet"),
        ("", f"{PROD}-goog", BORROWED, "its name belongs to another fleet"),
        # What no tag editor changes is believed before the name.
        (NAME, f"{PROD}-goog", OURS, ""),
        (f"{NAME}-gpu", "", OURS, ""),
        # Adopted: nothing tells who launched it.
        ("terraform-2024", "trading 7", OURS, ""),
        ("", "", OURS, ""),
    ],
)
def test_all_tags_of_this_fleet_do_not_make_anothers_server_ours(profile: str, name: str, kind: str, said: str) -> None:
    found = standing(Instance("i-1", tags={**OWN, "Model": MODEL, "Name": name}, profile=profile), IDENTITY)
    assert found.kind == kind
    assert said in found.reason
    # Its own launches are ours whatever else was edited.
    launched = Instance("i-1", tags={**OWN, "Name": name}, profile=profile, client_token=token(IDENTITY))
    assert standing(launched, IDENTITY).kind == OURS
    prods = Identity({**OWN, "Environment": "prod"}, PROD)
    assert standing(Instance("i-1", tags=OWN, client_token=token(prods)), IDENTITY).kind == BORROWED


@pytest.mark.parametrize("tags", [{}, {"Environment": "prod"}, {"Name": "mine"}])
def test_a_server_without_any_of_its_tags_is_known_by_its_profile(tags: dict[str, str]) -> None:
    assert standing(Instance("i-1", tags=tags, profile=NAME), IDENTITY).kind == MISLABELLED
    prods = Identity({**OWN, "Environment": "prod"}, PROD)
    assert standing(Instance("i-1", tags=tags, profile=NAME), prods).kind == FOREIGN
