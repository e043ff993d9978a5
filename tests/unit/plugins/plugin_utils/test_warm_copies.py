"""A copy is equal to what it was before, with the same tags, and is no other container's part."""

from __future__ import annotations

import copy
from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.template import is_trusted_as_template
from ansible_collections.algo.trading.plugins.plugin_utils import warm_copies


def test_texts_are_shared_by_copies_and_containers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("list: ['{{ a }}', 1, 1.5, {b: text}]\n")
    data = DataLoader().load_from_file(str(path), unsafe=True, trusted_as_template=True)
    slow = copy.deepcopy(data)
    warm_copies.share()
    fast = copy.deepcopy(data)
    assert fast == slow == data
    assert type(fast) is type(slow)
    assert is_trusted_as_template(fast["list"][0])
    assert fast["list"][0] is data["list"][0]
    fast["list"][3]["b"] = "changed"
    fast["list"].append(2)
    assert data == slow
