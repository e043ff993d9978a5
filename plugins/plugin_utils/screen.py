# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Styled text on Ansible's display: for the callback, and for an action that reports while it works."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ansible import constants as C
from ansible.utils.color import stringc
from ansible_collections.algo.trading.plugins.plugin_utils.plan import Text

_COLOURS = {
    "create": C.COLOR_DIFF_ADD,
    "adopt": C.COLOR_DIFF_ADD,
    "start": C.COLOR_OK,
    "stop": C.COLOR_SKIP,
    "restart": C.COLOR_CHANGED,
    "update": C.COLOR_CHANGED,
    "reconfigure": C.COLOR_CHANGED,
    "replace": C.COLOR_WARN,
    "delete": C.COLOR_DIFF_REMOVE,
    "hold": C.COLOR_SKIP,
    "refuse": C.COLOR_ERROR,
    "title": C.COLOR_HIGHLIGHT,
    "ok": C.COLOR_OK,
    "error": C.COLOR_ERROR,
    "warning": C.COLOR_WARN,
    "add": C.COLOR_DIFF_ADD,
    "remove": C.COLOR_DIFF_REMOVE,
}
# Of lines that are shown one by one, so that names stand under each other.
TYPE_WIDTH = 18
# A file has no width. Lines are kept whole as far as that can be read.
_LOG_WIDTH = 160
_STDOUT = 1


def _columns() -> int:
    """Of the terminal that standard output is; 0 where it is none. Ansible's own number is never below 79."""
    try:
        return os.get_terminal_size(_STDOUT).columns
    except OSError:
        return 0


# The process of a task has no terminal itself. It has this from the one that started it.
_AT_START = _columns()


def width() -> int:
    """How wide lines may be. The last column of a terminal stays free."""
    columns = _columns() or _AT_START
    return columns - 1 if columns else _LOG_WIDTH


def show(display: Any, texts: Iterable[Text], *, stderr: bool = False) -> None:
    """Lines with their colours on the screen, without them in the log."""
    for text in texts:
        plain = "".join(part for _style, part in text).rstrip()
        coloured = "".join(stringc(part, _COLOURS[s]) if s in _COLOURS else part for s, part in text)
        display.display(coloured.rstrip(), screen_only=True, stderr=stderr)
        display.display(plain, log_only=True)
