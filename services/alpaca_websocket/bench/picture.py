# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as SVG: bars side by side, lines over time; readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

_STYLE = """<style>
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #24292f } .quiet { fill: #656d76 }
.grid { stroke: #d0d7de }
.c0 { fill: #2563eb } .c1 { fill: #0e9aa7 } .c2 { fill: #d98208 } .c3 { fill: #8c959f } .c4 { fill: #b6bec8 }
.c5 { fill: #7c5cc4 }
.line { fill: none; stroke: #2563eb; stroke-width: 1.6 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } }
</style>"""


def _write(path: Path, width: int, height: int, title: str, parts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    path.write_text(
        "\n".join([head, _STYLE, f'<text x="0" y="16" font-weight="600">{escape(title)}</text>', *parts, "</svg>\n"])
    )


def bars(path: Path, title: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> None:
    """Each group has a heading and its labelled values; the longest bar is the largest value of all."""
    colours: dict[str, int] = {}  # the same label has the same one in every group
    largest = max((value for _, rows in groups for _, value in rows), default=1) or 1
    parts, y = [], 30
    for heading, rows in groups:
        parts.append(f'<text class="quiet" x="0" y="{y + 14}">{escape(heading)}</text>')
        y += 22
        for label, value in rows:
            number = colours.setdefault(label, len(colours))
            size = 380 * value / largest
            parts.append(f'<text x="215" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
            parts.append(
                f'<rect class="c{number % 6}" x="225" y="{y + 2}" width="{max(size, 1):.1f}" height="15" rx="3"/>'
            )
            parts.append(f'<text x="{232 + size:.1f}" y="{y + 14}">{value:,.0f}</text>')
            y += 21
        y += 10
    _write(path, 700, y, title, parts)


def lines(path: Path, title: str, charts: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    """One small chart below the other, of (seconds, value)."""
    parts, y = [], 30
    for heading, points in charts:
        highest = max((value for _, value in points), default=0) * 1.1 or 1
        last = max((at for at, _ in points), default=0) or 1
        parts.append(f'<text class="quiet" x="0" y="{y + 14}">{escape(heading)}</text>')
        top, height = y + 24, 90
        for share in (0.0, 0.5, 1.0):
            at = top + height * (1 - share)
            parts.append(f'<line class="grid" x1="70" x2="690" y1="{at}" y2="{at}"/>')
            parts.append(f'<text class="quiet" x="62" y="{at + 4}" text-anchor="end">{highest * share:,.1f}</text>')
        shown = " ".join(
            f"{70 + 620 * at / last:.1f},{top + height * (1 - value / highest):.1f}" for at, value in points
        )
        parts.append(f'<polyline class="line" points="{shown}"/>')
        parts.append(f'<text class="quiet" x="690" y="{top + height + 16}" text-anchor="end">{last:,.0f} s</text>')
        y = top + height + 26
    _write(path, 700, y, title, parts)
