# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what runs took to the tables of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from .scene import Took

BEGIN, END = "<!-- make bench-hosts -->", "<!-- end of make bench-hosts -->"


def line(took: Took) -> str:
    used = f"CPU: controller {took.controller_cpu:.1f} s, hosts {took.hosts_cpu:.1f} s"
    did = f"{took.tasks} tasks, {took.results} results, {took.changed} changed, {took.forks} forks, {took.ssh} ssh"
    return f"{took.title:<66} {took.seconds:>6.1f} s  {used}  {did}"


def report(rows: Sequence[Took], hosts: int, conditions: str) -> list[str]:
    """The Markdown that the documentation includes."""
    lines = ["", f"{hosts} trading servers. {conditions}", ""]
    titles = ("run", "s", "CPU s: controller", "hosts", "tasks", "results", "changed", "forks", "ssh", "calls")
    lines += [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for took in rows:
        seconds = (took.seconds, took.controller_cpu, took.hosts_cpu)
        numbers = (took.tasks, took.results, took.changed, took.forks, took.ssh, took.calls)
        cells = [took.title, *(f"{number:.1f}" for number in seconds), *map(str, numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    for took in rows:
        shown = ", ".join(f"{task} {seconds:.1f}" for task, seconds in took.longest[:5] if seconds >= 0.1)
        lines += [
            "",
            f"{took.title[0].upper()}{took.title[1:]}, the longest tasks, in seconds on a host in the middle: {shown}.",
        ]
    return [*lines, ""]


def splice(document: str, lines: Sequence[str]) -> str:
    """
    :raises ValueError: if the document does not have both markers, once and in order
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise ValueError(f"The document needs {BEGIN} and {END}, each once and in this order.")
    return "".join((before, BEGIN, "\n".join(["", *lines]), END, after))
