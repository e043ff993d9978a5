# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.algo.trading.plugins.plugin_utils.plan import Line, count, failure_of, lines_of

BUCKET = {
    "action": "create",
    "type": "S3 bucket",
    "name": "artifacts",
    "component": "mlflow_server",
    "reasons": ["does not exist"],
}


def test_a_result_with_a_plan_gives_its_lines():
    (line,) = lines_of({"changed": True, "plan": [BUCKET]}, host="mlflow_server", task="Create the bucket")
    assert line == Line(
        "create",
        "S3 bucket",
        "artifacts",
        "mlflow_server",
        ("does not exist",),
        host="mlflow_server",
        task="Create the bucket",
        status="done",
    )


def test_check_mode_makes_planned_lines():
    (line,) = lines_of({"changed": True, "plan": [BUCKET]}, host="h", task="t", planned=True)
    assert line.status == "planned"


def test_a_module_that_only_says_changed_becomes_a_line_of_its_own():
    (line,) = lines_of({"changed": True}, host="web1", task="Install packages", item="nginx")
    assert (line.action, line.type, line.name, line.host) == ("update", "task", "Install packages (nginx)", "web1")


def test_a_change_that_the_plan_does_not_tell_is_not_lost():
    left = {**BUCKET, "action": "no-op"}
    lines = lines_of({"changed": True, "plan": [left]}, host="h", task="Empty the bucket")
    assert [line.action for line in lines] == ["no-op", "update"]


def test_an_unchanged_result_without_plan_gives_nothing():
    assert lines_of({"changed": False}, host="h", task="t") == []


def test_a_plan_of_somebody_elses_making_is_not_taken_for_ours():
    for plan in ("Plan: 3 to add", {"resources": []}, [1, "two", {"address": "aws_vpc.main"}, {"action": "create"}]):
        assert lines_of({"changed": False, "plan": plan}, host="h", task="t") == []


def test_lines_of_the_fleet_are_understood_in_its_own_words():
    row = {"action": "terminate", "model": "momentum/AAPL/sma", "instance_id": "i-1", "reason": "model is gone"}
    (line,) = lines_of({"changed": True, "plan": [row]}, host="trading_server", task="t")
    assert (line.action, line.type, line.name, line.id) == ("delete", "trading server", "momentum/AAPL/sma", "i-1")
    assert line.reasons == ("model is gone",)
    assert line.component == "trading_server"


def test_lines_of_a_failed_task_are_not_done_unless_they_say_so():
    lines = lines_of(
        {"plan": [BUCKET, {**BUCKET, "status": "done"}, {**BUCKET, "action": "refuse"}]},
        host="h",
        task="t",
        failed=True,
    )
    assert [line.status for line in lines] == ["failed", "done", "failed"]
    assert count(lines, "done") == {"create": 1, "update": 0, "replace": 0, "delete": 0, "refuse": 1, "no-op": 0}


def test_the_diff_goes_with_the_last_line_that_changes_something():
    left = {**BUCKET, "action": "no-op"}
    lines = lines_of({"changed": True, "plan": [BUCKET, left]}, host="h", task="t", diffs=["+a"])
    assert [line.diff for line in lines] == ["+a", ""]
    assert "diff" not in lines[0].as_dict()


def test_as_many_diffs_as_changes_go_one_with_each():
    left = {**BUCKET, "action": "no-op"}
    plan = [BUCKET, left, BUCKET]
    lines = lines_of({"changed": True, "plan": plan}, host="h", task="t", diffs=["+a", "+b"])
    assert [line.diff for line in lines] == ["+a", "", "+b"]
    lines = lines_of({"changed": True, "plan": plan}, host="h", task="t", diffs=["+a", "+b", "+c"])
    assert [line.diff for line in lines] == ["", "", "+a+b+c"]


def test_reasons_do_not_carry_passwords():
    row = {**BUCKET, "reasons": ["master_user_password: hunter2 → hunter3", "engine: 15 → 16"]}
    (line,) = lines_of({"plan": [row]}, host="h", task="t")
    assert line.reasons == ("master_user_password: (hidden)", "engine: 15 → 16")


def test_counts_have_the_same_shape_when_there_is_nothing():
    assert count([]) == {"create": 0, "update": 0, "replace": 0, "delete": 0, "no-op": 0}


def test_actions_that_nobody_foresaw_are_counted_under_their_name():
    assert count([Line("quarantine", "host", "a")])["quarantine"] == 1


def test_a_failure_says_the_message_and_what_the_program_wrote():
    failure = failure_of(
        {
            "msg": "Task failed: non-zero return code",
            "rc": 3,
            "cmd": ["sh", "-c", "a b"],
            "stderr": "oops",
            "stdout": "",
        },
        host="web1",
        task="Run it",
        hints=["Look at the log."],
    )
    assert failure.message == "non-zero return code"
    assert failure.details == ("Look at the log.", "command: sh -c 'a b'", "stderr: oops")


def test_a_failure_of_a_no_log_task_says_that_it_is_hidden():
    failure = failure_of({"censored": "hidden", "msg": "password=x"}, host="h", task="t")
    assert "no_log" in failure.message
    assert "password" not in str(failure.as_dict())


def test_a_failure_without_a_message_is_not_empty():
    assert "failed_when" in failure_of({"failed_when_result": True}, host="h", task="t").message


def test_long_output_keeps_its_end():
    failure = failure_of({"msg": "x", "stderr": "\n".join(f"line {n}" for n in range(100))}, host="h", task="t")
    assert failure.details[0].startswith("stderr (the last 15 of 100 lines")
    assert failure.details[-1] == "  line 99"


def test_only_failures_that_ended_something_count():
    assert failure_of({"msg": "x"}, host="h", task="t").counts
    assert not failure_of({"msg": "x"}, host="h", task="t", ignored=True).counts
    assert not failure_of({"msg": "x"}, host="h", task="t", rescued=True).counts
