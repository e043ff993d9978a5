# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last page of a run: summary, plan, failures, and in the end the one line that says how it went."""

from __future__ import annotations

from collections.abc import Sequence

from ._progress import duration
from ._report import Report
from ._summary import summary_text
from ._text import Text, count_text, failure_name, plan_text, wrap

# Seconds; less is shown as none.
_SHORT = 0.5


def end_text(
    report: Report, order: Sequence[str], width: int, group_above: int, *, slowest: bool = False
) -> list[Text]:
    """Everything that is shown after Ansible's own recap, the most important last."""
    texts = summary_text(report.summary, order, width, group_above)
    if report.check:
        planned = plan_text(report.planned, order, width, group_above)
        texts += [*planned, []] if planned else []
    failures = [failure for failure in report.failures if failure.counts]
    if failures:
        # Each was shown in full when it happened; a long run needs the list.
        texts.append([("title", "Failures, details above")])
        texts += [[("error", f"✗ {failure_name(failure)}")] for failure in failures]
        texts.append([])
    if slowest and report.slowest:
        texts.append([("title", "Slowest steps")])
        texts += [[("plain", f"  {duration(s):>12}  {host}: {task}")] for s, host, task in report.slowest] + [[]]
    # Components that this run left out have a task or two that say so.
    if took := [f"{name} {duration(seconds)}" for name, seconds in report.times.seconds.items() if seconds >= _SHORT]:
        texts += [[("dim", line)] for line in wrap(f"Time by component: {', '.join(took)}.", 0, width)]
    texts += [[(style, part)] for style, text in verdict(report) for part in wrap(text, 0, width)]
    return [*texts, []]


def verdict(report: Report) -> list[tuple[str, str]]:
    """What was done or would be, in a line or two."""
    return _check_verdict(report) if report.check else _run_verdict(report)


def _check_verdict(report: Report) -> list[tuple[str, str]]:
    lines = [("title", f"Plan: {count_text(report.counts, todo=True)}.")]
    if report.failed:
        lines.append(("error", "The plan is incomplete: a task failed. Fix the cause and plan again."))
    elif not any(line.changes for line in report.planned):
        lines.append(("ok", f"Nothing to change{_up_to_date(report)}."))
    really = len(report.changes)
    if really:
        lines.append(("warning", f"Changed by tasks that also run in check mode: {really}. Nothing else was changed."))
    else:
        lines.append(("plain", f"Nothing was changed: this was --check. It took {duration(report.seconds)}."))
    return lines


def _run_verdict(report: Report) -> list[tuple[str, str]]:
    took = f"It took {duration(report.seconds)}."
    told = count_text(report.counts, todo=False)
    if report.failed:
        return [
            ("error", f"Failed. Changes before the failure: {told}."),
            ("plain", f"{took} Fix the cause and run the same command again; it continues from here."),
        ]
    if not report.recap:
        return [("warning", "No host matched: nothing was done.")]
    if not report.changes and not any(numbers["changed"] for numbers in report.recap.values()):
        return [("ok", f"Nothing to change{_up_to_date(report)} (changed=0)."), ("plain", took)]
    return [("ok", f"Done: {told}."), ("plain", took)]


def _up_to_date(report: Report) -> str:
    if held := report.counts.get("hold"):
        return f" for now: {held} held back, see above"
    return ": the environment is up to date" if report.counts["no-op"] else ""
