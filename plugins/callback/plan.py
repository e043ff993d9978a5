# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
type: stdout
version_added: 0.1.0
short_description: Show what a run changes or would change, and what runs where afterwards
description:
  - Prints one line for each change with its reason instead of one for each task and host. What is up to date is
    counted, long steps show progress, failures are shown in full.
  - In check mode it ends in the plan, grouped by component, with a count of what would be created, changed, replaced
    and removed. A real run ends in the count of what was done, and both in the summary that the roles hand over with
    M(ansible.builtin.set_stats) under C(summary).
  - Reads C(plan) from the results of tasks, a list of decisions as M(algo.trading.resources) returns it. A task that
    only says C(changed) becomes a line of its own, so the callback serves any playbook.
  - With C(-v) everything that the P(ansible.builtin.default#callback) callback shows is shown too.
options:
  json_path:
    description:
      - A file that gets the plan, the counts, the failures and the summary as JSON. It is replaced in one go, also
        when the run fails; while the run goes on its C(status) is V(running).
    type: path
    env:
      - name: ALGO_PLAN_JSON
    ini:
      - section: callback_algo_plan
        key: json_path
  progress_after:
    description: Seconds after which a step that still runs is mentioned, then once a minute. V(0) turns this off.
    type: int
    default: 10
    env:
      - name: ALGO_PLAN_PROGRESS_AFTER
    ini:
      - section: callback_algo_plan
        key: progress_after
  group_above:
    description:
      - More lines of one action and type than this are drawn together on the screen. The JSON file has all of them, and
        so has the screen with C(-v).
    type: int
    default: 20
    env:
      - name: ALGO_PLAN_GROUP_ABOVE
    ini:
      - section: callback_algo_plan
        key: group_above
extends_documentation_fragment:
  - ansible.builtin.default_callback
  - ansible.builtin.result_format_callback
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  stdout_callback = algo.trading.plan

  [callback_algo_plan]
  json_path = build/plan.json
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.release import __version__ as ansible_version
from ansible_collections.algo.trading.plugins.module_utils._components import COMPONENTS
from ansible_collections.algo.trading.plugins.plugin_utils import plan, screen, warm_workers

_FOREIGN = {"json_path": None, "progress_after": 10, "group_above": 20}


class CallbackModule(DefaultCallback):
    """Keeps the default callback for -v; otherwise prints changes as they come and the whole at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "algo.trading.plan"

    def __init__(self) -> None:
        super().__init__()
        # Keeps the lines of one event together: progress is told from a thread of its own.
        self._writing = threading.RLock()
        self._stage = self._play_id = ""
        self._stage_counts: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._diffs: dict[tuple[str, str], list[str]] = {}
        self._items_failed: set[tuple[str, str]] = set()
        self._report = self._new_report("")
        self._progress = plan.Progress(self._say_progress)

    def _option(self, name: str) -> Any:
        # AWX's own callback derives from this one and knows only Ansible's options.
        return self.get_option(name) if self.has_option(name) else _FOREIGN[name]

    def _serialize_diff(self, diff: Mapping[str, Any]) -> str:
        """Settings as YAML, whatever the format of results is: a diff is for people."""
        settings = plan.masked(plan.plain(diff))
        return yaml.safe_dump(settings, allow_unicode=True, sort_keys=True, width=1000) if settings else ""

    @property
    def _verbose(self) -> bool:
        return bool(self._display.verbosity)

    @property
    def _width(self) -> int:
        return screen.width()

    def _new_report(self, playbook: str) -> plan.Report:
        check = bool(context.CLIARGS.get("check")) if context.CLIARGS else False
        return plan.Report(playbook, check=check, started=datetime.now(UTC), ansible_version=str(ansible_version))

    def _say(self, *texts: plan.Text, stderr: bool = False) -> None:
        with self._writing:
            screen.show(self._display, texts, stderr=stderr)

    def _say_progress(self, text: str) -> None:
        self._open_stage()
        self._say([("stop", f"  {text}")])

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        self._report = self._new_report(str(playbook._file_name or ""))
        self._progress = plan.Progress(self._say_progress, after=float(self._option("progress_after")))
        self._write_json()
        if self._report.check:
            self._say([("title", "Check only: nothing will be changed.")])
        warm_workers.prepare()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._close_stage()
        warm_workers.expect(play)
        self._play_id = str(play._uuid)
        if self._verbose:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        self._stage = play.get_name().strip()

    def _open_stage(self) -> None:
        """The play's name, once something of it is to be shown: plays without hosts stay silent."""
        with self._writing:
            if self._stage and not self._verbose:
                name, self._stage = plan.clean(self._stage), ""
                self._say([], [("title", name)])

    def _close_stage(self) -> None:
        counts, self._stage_counts = self._stage_counts, Counter()
        if self._verbose or not counts or self._stage:
            return
        todo = self._report.check
        leave, steps = counts["no-op"], counts["steps"]
        if not any(counts[name] for name in plan.ACTIONS if name != "no-op"):
            text = (
                f"{leave} unchanged"
                if leave
                else ""
                if counts["failed"]
                else f"ok ({steps} step{'s' if steps != 1 else ''})"
            )
        elif todo:
            text = plan.count_text({name: counts[name] for name in plan.ACTIONS if counts[name]}, todo=True)
        else:
            # What was changed stands above, line by line.
            text = f"{leave} unchanged" if leave else ""
        took = [
            f"{component} {plan.duration(seconds)}"
            for component, seconds in self._report.times.of(self._play_id).items()
            if seconds >= 1
        ]
        if text or took:
            self._say([("dim", f"  {' · '.join(filter(None, [text, ', '.join(took)]))}")])

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._names[task._uuid] = plan.task_name(task)
        if self._verbose:
            super()._task_start(task, prefix=prefix)
        else:
            self._task_type_cache[task._uuid] = prefix or "TASK"
            self._open_stage()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        super().v2_runner_on_start(host, task)
        self._progress.start(task._uuid, self._names.get(task._uuid) or plan.task_name(task), host.get_name())
        if component := _component(host, task):
            self._report.times.start(self._play_id, component)

    def v2_runner_retry(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_retry(result)
        data = result.result
        self._progress.note(result.task._uuid, f"try {data.get('attempts', 0)} of {data.get('retries', 0)}")

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._verbose:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if self._verbose:
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self._verbose:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_on_file_diff(self, result: Any) -> None:
        """Comes before the result itself; kept until the change has its line."""
        if self._verbose:
            super().v2_on_file_diff(result)
        data = result.result
        if "censored" not in data and data.get("diff") and data.get("changed") and "results" not in data:
            diffs = data["diff"] if isinstance(data["diff"], list) else [data["diff"]]
            told = [plan.diff_of(diff, self._get_diff) for diff in diffs]
            self._diffs[result.host.get_name(), result.task._uuid] = told

    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result)
        looped = bool(result.task.loop) and "results" in result.result
        if not looped and not isinstance(result.task, TaskInclude):
            self._take(result)
        if self._verbose:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        if not looped and result.task.action in C._ACTION_DEBUG:
            self._say_debug(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if not isinstance(result.task, TaskInclude):
            self._take(result, item=str(self._get_item_label(result.result)))
        if self._verbose:
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        if result.task.action in C._ACTION_DEBUG:
            self._say_debug(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._ended(result)
        if self._verbose:
            super().v2_runner_on_skipped(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_item_on_skipped(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool | None = False) -> None:
        self._ended(result)
        # A loop's items have told their own failures; what remains is a loop that could not even start.
        told = (result.host.get_name(), result.task._uuid)
        if told in self._items_failed:
            self._items_failed.discard(told)
        else:
            self._take_failure(result, ignored=bool(ignore_errors))
        if self._verbose:
            super().v2_runner_on_failed(result, ignore_errors)
        else:
            self._handle_warnings(result.result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._items_failed.add((result.host.get_name(), result.task._uuid))
        self._take_failure(
            result, ignored=result.task.ignore_errors is True, item=str(self._get_item_label(result.result))
        )
        if self._verbose:
            super().v2_runner_item_on_failed(result)
        else:
            self._handle_warnings(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended(result)
        self._take_failure(result, ignored=result.task.ignore_unreachable is True, kind="unreachable")
        if self._verbose:
            super().v2_runner_on_unreachable(result)
        else:
            self._handle_warnings(result.result)

    def _ended(self, result: Any) -> None:
        host = result.host.get_name()
        seconds = self._progress.end(result.task._uuid, host)
        if seconds is not None:
            self._report.steps.append((seconds, host, plan.result_name(result)))
        self._stage_counts["steps"] += 1
        if component := _component(result.host, result.task):
            self._report.times.end(self._play_id, component)

    def _take(self, result: Any, item: str = "") -> None:
        host, planned = result.host.get_name(), result.task.check_mode is True
        diffs = self._diffs.pop((host, result.task._uuid), [])
        name = plan.result_name(result)
        lines = plan.lines_of(result.result, host=host, task=name, planned=planned, item=item, diffs=diffs)
        self._report.lines += lines
        self._stage_counts.update(line.action for line in lines)
        shown = [line for line in lines if line.action != "no-op" and not line.shown]
        if self._verbose or planned or not shown:
            return
        with self._writing:
            self._open_stage()
            group_above = self._option("group_above")
            self._say(*plan.lines_text(shown, self._width, group_above, type_width=screen.TYPE_WIDTH))

    def _take_failure(self, result: Any, *, ignored: bool, kind: str = "failed", item: str = "") -> None:
        host, data = result.host.get_name(), result.result
        if "censored" in data:
            # Ansible hides the message, and then prints it with the exception.
            data.pop("exception", None)
        failure = plan.failure_of(
            data,
            host=self.host_label(result),
            task=plan.result_name(result),
            hints=plan.hints(getattr(result, "exception", None)),
            kind=kind,
            path=plan.task_path(result.task),
            item=item,
            ignored=ignored,
            rescued=not ignored and kind == "failed" and plan.will_be_rescued(result.task),
        )
        self._diffs.pop((host, result.task._uuid), None)
        self._report.failures.append(failure)
        lines = plan.lines_of(data, host=host, task=failure.task, failed=True)
        self._report.lines += lines
        self._stage_counts.update(line.action for line in lines if line.status not in ("failed", "not started"))
        self._stage_counts["failed"] += 1
        if self._verbose:
            return
        with self._writing:
            self._open_stage()
            # What was not started reads as what was held back: its reason says why.
            told = [replace(line, action="hold") if line.status == "not started" else line for line in lines]
            told = [
                line
                for line in told
                if line.action == "refuse" or line.status == "not started" or (line.changes and line.status == "done")
            ]
            told = [line for line in told if not line.shown]
            self._say(*plan.lines_text(told, self._width, self._option("group_above"), type_width=screen.TYPE_WIDTH))
            texts = plan.failure_text(failure, self._width)
            self._say(*texts, stderr=bool(self.get_option("display_failed_stderr")))

    def _say_debug(self, result: Any) -> None:
        """A debug task exists to be read. Its verbosity keyword has already been obeyed: it would be skipped."""
        data = result.result
        self._clean_results(data, result.task.action)
        message = data.get("msg")
        if message is None:
            message = self._dump_results({key: value for key, value in data.items() if not key.startswith("_ansible_")})
        lines = [str(line) for line in message] if isinstance(message, list) else str(message).splitlines()
        with self._writing:
            self._open_stage()
            self._say(*([("plain", f"  {plan.clean(line)}")] for line in lines))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._progress.stop()
        self._close_stage()
        recap = {host: stats.summarize(host) for host in stats.processed}
        custom = (stats.custom or {}).get("_run") or {}
        self._report.finish(recap, plan.plain(custom.get("summary")), datetime.now(UTC))
        self._write_json()
        with self._writing:
            super().v2_playbook_on_stats(stats)
            group_above = 10**9 if self._verbose else self._option("group_above")
            texts = plan.end_text(self._report, COMPONENTS, self._width, group_above, slowest=self._verbose)
            self._say(*texts)
        warm_workers.finish()

    def _write_json(self) -> None:
        path = self._option("json_path")
        if not path:
            return
        try:
            self._report.write(Path(path))
        except OSError as error:
            self._display.warning(f"The plan could not be written to {path}: {error.strerror or error}")


def _component(host: Any, task: Any) -> str:
    """Whose time a task is. What runs once is the whole environment's."""
    name = str(host.get_name()).removeprefix("aws_")
    return name if name in COMPONENTS and not task.run_once else ""
