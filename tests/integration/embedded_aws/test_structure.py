"""The picture and the list of the package's parts show all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tools" / "embedded_aws"
PARTS = {path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")} - {"agent"}


def test_every_part_is_in_the_picture_and_in_the_list() -> None:
    picture = (ROOT / "docs" / "embedded-aws.svg").read_text()
    shown = set(re.findall(r"\w+", re.sub(r"<style>.*</style>|<[^>]*>", " ", picture, flags=re.DOTALL)))
    assert PARTS - shown == set()
    listed = set(re.findall(r"^ *(\w+) +\S", (PACKAGE / "__init__.py").read_text(), re.MULTILINE))
    assert PARTS - listed == set()
