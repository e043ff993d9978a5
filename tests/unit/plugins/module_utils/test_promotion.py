# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.promotion import unverified, verified_release

IMAGES = {"host": {"id": "ami-0a"}, "trading_server": {"id": "ami-0b"}}
QA = {
    "images": {"host": "/aws/latest", "gpu": "/aws/gpu", "trading_server": None},
    "algo_modeling": "2.0.0",
    "mlflow": "3.1",
}
RELEASE = verified_release(QA, IMAGES, {"environment": "qa", "time": "2026-01-02T03:04:05Z", "hosts": 3})


def why(release: dict[str, Any], images: dict[str, Any] | None = None, source: str = "qa") -> str:
    return "; ".join(unverified(release, images or IMAGES, source))


def test_a_release_is_promoted_with_the_images_that_ran() -> None:
    assert RELEASE["images"] == {"host": "ami-0a", "gpu": "/aws/gpu", "trading_server": "ami-0b"}
    assert RELEASE["verified"]["hosts"] == "3"
    assert why(RELEASE) == ""
    # As it comes back from the check of the settings, which knows all labels.
    assert why({**RELEASE, "images": {**RELEASE["images"], "mlflow_server": None}}) == ""


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (QA, "qa has no record"),
        ({**RELEASE, "algo_modeling": "2.0.1"}, "it was changed after qa had verified it"),
        ({**RELEASE, "images": {**RELEASE["images"], "host": "ami-0f"}}, "it was changed after qa"),
        ({**RELEASE, "verified": {**RELEASE["verified"], "images": "ami-0f"}}, "it was changed after qa"),
        ({**RELEASE, "verified": {**RELEASE["verified"], "environment": "dev"}}, "verified by dev, not by qa"),
    ],
)
def test_what_was_not_verified_or_changed_since_is_refused(release: dict[str, Any], reason: str) -> None:
    assert reason in why(release)


def test_an_image_that_did_not_run_there_is_refused() -> None:
    """Also one that a parameter resolves to by now."""
    assert why(RELEASE, {**IMAGES, "gpu": {"id": "ami-0c"}}) == "qa has not verified the image ami-0c (gpu)"
    assert why(RELEASE, {"host": {"error": "does not exist"}}) == ""  # reported by itself
