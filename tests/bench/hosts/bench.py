# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times how trading servers are configured: Linux hosts of an embedded AWS, with the example's trading code and market.

    python tests/bench/hosts                      # ten hosts
    python tests/bench/hosts --hosts 4 --forks 1 20
    python tests/bench/hosts --docs docs/performance-hosts.md

It asserts nothing about time. A second run that changes something ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ansible_collections.algo.trading.tests.bench.site.bench import described, machine
from ansible_collections.algo.trading.tests.bench.site.measure import ROOT, CommandFailed

from . import figures
from .scene import Scene, Took


def measure_all(scene: Scene, forks: Sequence[int]) -> list[Took]:
    """All phases, in the order in which the environment lives."""
    rows: list[Took] = []

    def note(took: Took) -> None:
        rows.append(took)
        print(figures.line(took), flush=True)

    scene.prepare()
    note(scene.configure("base", "first run, base image"))
    note(scene.unchanged("base again", "second run"))
    for number in forks:
        note(scene.unchanged(f"forks {number}", f"second run, {number} {'fork' if number == 1 else 'forks'}", number))
    scene.use_image()
    note(scene.boot_alone("alone", "launch to healthy, baked image, no controller's work on the hosts"))
    note(scene.configure("baked", "first run, baked image"))
    note(scene.unchanged("baked again", "second run, baked image"))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10, help="number of trading servers, at most 12")
    parser.add_argument("--forks", type=int, nargs="*", default=[1, 5], help="second runs with other numbers of forks")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-hosts", help="where the results go")
    parser.add_argument("--docs", type=Path, help="write the tables between the markers of this document")
    options = parser.parse_args(arguments)
    conditions = described(machine(), "")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-hosts-", ignore_cleanup_errors=True) as folder:
        try:
            with Scene.opened(Path(folder), options.hosts, options.out / "logs") as scene:
                rows = measure_all(scene, options.forks)
        except CommandFailed as problem:
            sys.exit(str(problem))
    lines = figures.report(rows, options.hosts, conditions)
    (options.out / "hosts.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (options.out / "hosts.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    if options.docs:
        options.docs.write_text(figures.splice(options.docs.read_text(), lines))
