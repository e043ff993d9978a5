# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run did or would do: collected from task results, and put into words for a screen of any width.

Plain Python: the callback feeds it and gives it colours.
"""

from __future__ import annotations

from ._ansible import diff_of, hints, plain, result_name, task_name, task_path, will_be_rescued
from ._end import end_text, verdict
from ._lines import ACTIONS, Failure, Line, count, failure_of, line_of, lines_of
from ._progress import Progress, duration
from ._report import Report
from ._summary import summary_text
from ._text import (
    Text,
    cells,
    clean,
    count_text,
    diff_text,
    failure_text,
    line_text,
    lines_text,
    masked,
    plan_text,
    settings_diff,
)
from ._times import Times

__all__ = [
    "ACTIONS",
    "Failure",
    "Line",
    "Progress",
    "Report",
    "Text",
    "Times",
    "cells",
    "clean",
    "count",
    "count_text",
    "diff_of",
    "diff_text",
    "duration",
    "end_text",
    "failure_of",
    "failure_text",
    "hints",
    "line_of",
    "line_text",
    "lines_of",
    "lines_text",
    "masked",
    "plain",
    "plan_text",
    "result_name",
    "settings_diff",
    "summary_text",
    "task_name",
    "task_path",
    "verdict",
    "will_be_rescued",
]
