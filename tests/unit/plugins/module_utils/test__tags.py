# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.algo.trading.plugins.module_utils._tags import tag_dict


def test_a_list_of_tags_becomes_a_dictionary() -> None:
    assert tag_dict([{"Key": "A", "Value": "b"}, {"Key": "C"}]) == {"A": "b", "C": ""}
    assert tag_dict(None) == {}
