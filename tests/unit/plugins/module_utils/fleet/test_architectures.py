# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.architectures import architecture


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("t4g.small a1.large m6gd.4xlarge c7gn.16xlarge x2gd.metal im4gn.large is4gen.large g5g.xlarge", "arm64"),
        ("hpc7g.16xlarge i8g.large r8gb.xlarge mac2.metal mac2-m2.metal p6e-gb200.36xlarge", "arm64"),
        ("t3.nano t3a.nano m5.large g4dn.xlarge g6e.xlarge gr6.4xlarge c6i.large x2iedn.xlarge u-6tb1.metal", "x86_64"),
        ("m7i-flex.large p5.48xlarge p6-b200.48xlarge inf2.xlarge trn1.2xlarge mac1.metal vt1.3xlarge", "x86_64"),
    ],
)
def test_the_architecture_follows_from_the_name(names: str, expected: str) -> None:
    assert {name: architecture(name) for name in names.split()} == dict.fromkeys(names.split(), expected)
