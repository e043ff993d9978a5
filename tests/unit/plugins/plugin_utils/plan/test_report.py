# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.plan import Failure, Line, Report, end_text, verdict

START = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
CREATE = Line("create", "VPC", "v", "network", status="done")
LEAVE = Line("no-op", "VPC", "w", "network", status="done")


def recap(**numbers: int) -> dict[str, dict[str, int]]:
    none = dict.fromkeys(("ok", "changed", "unreachable", "failures", "skipped", "rescued", "ignored"), 0)
    return {"network": none | numbers}


def report(*lines: Line, check: bool = False, **numbers: int) -> Report:
    made = Report("site.yml", check=check, started=START, ansible_version="2.19.0")
    made.lines += lines
    made.finish(recap(**numbers), {"environment": "qa"}, START + timedelta(seconds=72))
    return made


def words(made: Report) -> str:
    return "\n".join(text for _style, text in verdict(made))


def planned(line: Line) -> Line:
    return Line(**{**vars(line), "status": "planned"})


def test_a_run_ends_in_the_count_of_what_was_done():
    text = words(report(CREATE, LEAVE, ok=2, changed=1))
    assert text == "Done: 1 created, 0 changed, 0 replaced, 0 removed, 1 unchanged.\nIt took 1 min 12 s."


def test_a_run_that_changed_nothing_says_so():
    text = words(report(LEAVE, ok=1))
    assert text.startswith("Nothing to change: the environment is up to date (changed=0).")


def test_what_is_held_back_is_not_up_to_date():
    held = Line("hold", "trading server", "m", "trading_server", status="done")
    assert words(report(LEAVE, held, ok=1)).startswith("Nothing to change for now: 1 held back, see above (changed=0).")
    assert "Nothing to change for now: 1 held back, see above." in words(
        report(planned(LEAVE), planned(held), check=True, ok=1)
    )


def test_a_run_without_any_plan_does_not_speak_of_an_environment():
    assert words(report(ok=1)).startswith("Nothing to change (changed=0).")


def test_check_mode_ends_in_the_plan():
    text = words(report(planned(CREATE), planned(LEAVE), check=True, ok=2, changed=1))
    assert text.startswith("Plan: 1 to create, 0 to change, 0 to replace, 0 to remove, 1 unchanged.")
    assert "Nothing was changed: this was --check." in text


def test_check_mode_of_a_built_environment_says_that_nothing_is_to_be_done():
    text = words(report(planned(LEAVE), check=True, ok=1))
    assert "Nothing to change: the environment is up to date." in text


def test_check_mode_owns_up_to_what_was_changed_all_the_same():
    text = words(report(planned(CREATE), CREATE, check=True, ok=2, changed=2))
    assert "Nothing was changed" not in text
    assert "Changed by tasks that also run in check mode: 1." in text


def test_a_play_in_check_mode_is_a_check_without_the_option():
    assert report(planned(CREATE), ok=1, changed=1).check


def test_a_failed_run_says_what_was_done_and_how_to_go_on():
    made = Report("site.yml", check=False, started=START, ansible_version="2.19.0")
    made.lines.append(CREATE)
    made.failures.append(Failure("network", "Create the database", "The quota is reached."))
    made.finish(recap(ok=1, changed=1, failures=1), {"notes": ["one"]}, START)
    text = "\n".join("".join(part for _style, part in line) for line in end_text(made, (), 80, 20))
    assert "✗ FAILED  network: Create the database\n\n" in text
    assert "The quota is reached." not in text
    assert "Failed. Changes before the failure: 1 created" in text
    assert "run the same command again" in text


def test_a_plan_that_failed_is_not_called_complete():
    made = report(planned(CREATE), check=True)
    made.finish(recap(failures=1), None, START)
    assert "The plan is incomplete" in words(made)


def test_a_run_on_no_host_says_so():
    made = Report("site.yml", check=False, started=START, ansible_version="2.19.0")
    made.finish({}, None, START)
    assert words(made) == "No host matched: nothing was done."


def test_a_host_that_ended_well_had_its_failures_rescued():
    made = report(ok=3, rescued=1)
    made.failures = [Failure("network", "t", "m")]
    made.finish(recap(ok=3, rescued=1), None, START)
    assert made.failures[0].rescued
    assert not made.failed
    assert "What failed" not in str(end_text(made, (), 80, 20))


def test_the_file_has_everything_and_replaces_the_one_before(tmp_path):
    path = tmp_path / "build" / "plan.json"
    running = Report("site.yml", check=False, started=START, ansible_version="2.19.0")
    running.write(path)
    assert json.loads(path.read_text())["status"] == "running"
    report(CREATE, ok=1, changed=1).write(path)
    written = json.loads(path.read_text())
    assert written["version"] == 2
    assert written["status"] == "ok"
    assert written["environment"] == "qa"
    assert written["seconds"] == 72.0
    assert written["counts"]["create"] == 1
    assert written["plan"][0]["name"] == "v"
    assert written["recap"]["network"]["changed"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "plan.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"plan\.json"):
        report().write(path)
    assert list(tmp_path.iterdir()) == [path]


def test_steps_of_less_than_a_second_are_not_slow():
    made = report(ok=1)
    made.steps = [(0.2, "a", "quick"), (5.0, "a", "slow"), (9.0, "b", "slower")]
    assert [task for _seconds, _host, task in made.slowest] == ["slower", "slow"]
