# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy by reference what cannot change.

Ansible copies a role's files each time that the role is included, and all variables for each template lookup. Most of
that time goes into texts with a tag, such as where a text stands, and into the tags: ``copy`` does not know that
neither can be changed, as it knows of plain texts.
"""

from __future__ import annotations

from typing import Any

try:
    from ansible.module_utils._internal import _datatag
except ImportError:  # another version of Ansible: as before, only slower
    _datatag = None

_IMMUTABLE = (
    "AnsibleDatatagBase",
    "_AnsibleTaggedBytes",
    "_AnsibleTaggedFloat",
    "_AnsibleTaggedInt",
    "_AnsibleTaggedStr",
    "_AnsibleTagsMapping",
)


def share() -> None:
    """From here on, in this process and those forked from it."""
    for name in _IMMUTABLE:
        if kind := getattr(_datatag, name, None):
            kind.__deepcopy__ = _itself


def _itself(self: Any, _memo: Any) -> Any:
    return self
