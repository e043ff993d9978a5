# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.algo.trading.plugins.module_utils.resources._model import Found


def test_a_thing_that_was_left_unfinished_is_ours() -> None:
    assert Found("b", tags={}, unfinished=True).as_dict(ours=False)["ours"]
    assert Found("b", tags={}).as_dict(ours=True)["ours"]
    assert "pending_deletion" not in Found("b").as_dict(ours=True)
    assert (
        Found("b", pending_deletion="being deleted", note="why").as_dict(ours=False)["pending_deletion"]
        == "being deleted"
    )
