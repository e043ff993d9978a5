# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, which has the documentation, once in a run for the same package.

All functions of an environment share one package, and each of their components asks for it, several at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible_collections.algo.trading.plugins.module_utils.lambda_package import PackageError, Source, stamp
from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction


class ActionModule(WarmAction):
    """The first to ask builds the package; others wait for it. Changed files are always built anew."""

    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if not self.on_controller:
            return super().answer(arguments, variables)
        name = hashlib.sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()
        # In the run's own folder, which Ansible removes. The lock of a killed worker ends with it.
        with (Path(C.DEFAULT_LOCAL_TMP) / f"algo-package-{name}").open("a+", encoding="utf-8") as store:
            fcntl.flock(store, fcntl.LOCK_EX)
            sources, dest = _sources(arguments), [Source(path=Path(str(arguments.get("dest"))))]
            store.seek(0)
            known = json.loads(store.read() or "{}")
            before = _stamp(sources)
            if before and known.get("stamps") == [before, _stamp(dest)]:
                return {**known["result"], "changed": False}
            result = super().answer(arguments, variables)
            store.truncate(0)
            if not result.get("failed"):
                # A diff belongs to the one that made the change.
                kept = {key: value for key, value in result.items() if key != "diff"}
                json.dump({"stamps": [before, _stamp(dest)], "result": kept}, store, default=str)
            return result


def _sources(arguments: dict[str, Any]) -> list[Source]:
    return [
        Source(
            entry.get("archive_path") or "",
            Path(entry["path"]) if entry.get("path") else None,
            entry.get("content"),
            tuple(entry.get("exclude") or ()),
        )
        for entry in arguments.get("sources") or ()
    ]


def _stamp(sources: list[Source]) -> str:
    """Which files these are now; empty where the module itself will say what is wrong."""
    try:
        return stamp(sources)
    except (PackageError, OSError):
        return ""
