# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machine images that we make: what one consists of, which are old, and where a release names them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Left by Python on the controller, and different on each.
_UNRELATED = frozenset({"__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".venv"})


def content_digest(folders: Iterable[Path], facts: Mapping[str, Any]) -> str:
    """A digest of everything that decides what an image contains.

    :param folders: of roles and code; one that does not exist counts as empty.
    :param facts: values by name: the source image, settings. One that names a file on this machine stands for its text.
    """
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            if path.is_file() and not _UNRELATED.intersection(inner.parts):
                _add(found, f"{folder.name}/{inner}".encode(), path.read_bytes())
    for name, value in sorted(facts.items()):
        file = Path(value) if isinstance(value, str) and value.startswith("/") else None
        content = (
            file.read_bytes() if file and file.is_file() else json.dumps(value, sort_keys=True, default=str).encode()
        )
        _add(found, name.encode(), content)
    return found.hexdigest()


def _add(found: Any, name: bytes, content: bytes) -> None:
    # The lengths too: two parts never read as one.
    found.update(b"%d %s %d " % (len(name), name, len(content)) + content)


def images_to_remove(images: Sequence[Mapping[str, Any]], keep: int, in_use: str = "") -> list[str]:
    """Ids of the images of one component that are neither among the newest nor in use, oldest first.

    :param images: as ``amazon.aws.ec2_ami_info`` returns them.
    :param in_use: any text that names what is in use: releases, parameters, instances, launch templates.
    """
    newest_first = sorted(images, key=lambda image: (str(image.get("creation_date")), image["image_id"]), reverse=True)
    used = set(re.findall(r"ami-[0-9a-f]+", in_use))
    return [image["image_id"] for image in reversed(newest_first[keep:]) if image["image_id"] not in used]


def release_with_image(text: str, label: str, image_id: str) -> str:
    """The text of a ``release.yml`` with another image; comments and all other lines stay.

    :raises ValueError: if it has no ``images:`` to put it below.
    """
    own = re.compile(rf"^(\s+){re.escape(label)}:\s+\S+", re.MULTILINE)
    head = re.search(r"^( *)images:[ \t]*\n", text, re.MULTILINE)
    if head is None:
        raise ValueError("it has no algo_release.images")
    inner = re.compile(rf"(?:^{head[1]} +\S.*\n?)*", re.MULTILINE).match(text, head.end())
    block = inner[0] if inner else ""
    indent = " " * (len(head[1]) + 2)
    changed = own.sub(rf"\g<1>{label}: {image_id}", block)
    if not own.search(block):
        changed = f"{block.rstrip(chr(10))}\n" if block else ""
        changed += f"{indent}{label}: {image_id}\n"
    return text[: head.end()] + changed + text[head.end() + len(block) :]
