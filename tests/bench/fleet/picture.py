# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture: how time and calls grow with the number of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot

_LABELS = {"model_fleet": "algo.trading.model_fleet", "engine": "its engine, without Ansible", "boto3": "bare boto3"}
_PANELS = (("create", "create"), ("again", "second run"))


def growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds above, API calls below; create on the left, a second run on the right."""
    mpl.rcParams["svg.hashsalt"] = "bench"
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex=True)
    names = list(dict.fromkeys(row["name"] for row in rows))
    for column, (phase, title) in enumerate(_PANELS):
        for line, (key, unit) in enumerate((("seconds", "seconds"), ("requests", "API calls"))):
            axis = axes[line][column]
            for number, name in enumerate(names):
                mine = sorted((row for row in rows if row["name"] == name), key=lambda row: row["models"])
                sizes = [row["models"] for row in mine]
                values = [row["phases"][phase][key] for row in mine]
                axis.plot(sizes, values, marker="os^Dv"[number % 5], label=_LABELS.get(name, name))
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(visible=True, which="both", alpha=0.25)
            axis.set_ylabel(unit)
            if line == 0:
                axis.set_title(title)
            else:
                axis.set_xlabel("models")
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
