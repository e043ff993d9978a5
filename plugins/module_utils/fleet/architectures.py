# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CPU architecture of an instance type, by its name. An image runs on one architecture only."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A "g" behind the generation is Graviton.
# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
_NAME = re.compile(r"([a-z]+)(\d+)([a-z0-9-]*)\.")


def architecture(instance_type: str) -> str:
    """`arm64` or `x86_64`."""
    found = _NAME.match(instance_type)
    if not found:
        return "x86_64"
    family, generation, attributes = found.groups()
    arm = "g" in attributes or family + generation == "a1" or (family == "mac" and int(generation) > 1)
    return "arm64" if arm else "x86_64"


def architectures(instance_types: Iterable[str]) -> list[str]:
    """All architectures among these types, sorted. What is no type is left out."""
    return sorted({architecture(name) for name in instance_types if "." in name})
