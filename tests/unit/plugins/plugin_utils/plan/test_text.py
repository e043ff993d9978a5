# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.plan import (
    Failure,
    Line,
    Text,
    cells,
    clean,
    count,
    count_text,
    diff_text,
    failure_text,
    line_text,
    lines_text,
    masked,
    plan_text,
)

BUCKET = Line("create", "S3 bucket", "algo-trading-artifacts", "mlflow_server", ("does not exist",))


def shown(texts: list[Text]) -> list[str]:
    return ["".join(part for _style, part in text) for text in texts]


def test_a_line_has_symbol_type_name_and_reason():
    assert shown(line_text(BUCKET, 80)) == ["  + S3 bucket  algo-trading-artifacts  does not exist"]


def test_reasons_go_below_where_they_do_not_fit():
    line = Line("update", "S3 bucket", "algo-trading-artifacts", reasons=("versioning: false → true", "tags: none"))
    assert shown(line_text(line, 40)) == [
        "  ~ S3 bucket  algo-trading-artifacts",
        "      versioning: false → true",
        "      tags: none",
    ]


@pytest.mark.parametrize("width", [20, 40, 79, 120, 200])
def test_names_are_never_cut(width):
    line = Line("create", "S3 bucket", "n" * 63, reasons=("arn:aws:s3:::" + "n" * 63,))
    text = "\n".join(shown(line_text(line, width)))
    assert "n" * 63 in text
    assert "arn:aws:s3:::" + "n" * 63 in text


def test_lines_stand_in_columns():
    lines = [BUCKET, Line("delete", "role", "x", reasons=("is no longer in the settings",))]
    first, second = shown(lines_text(lines, 100, 20))
    assert first.index("algo") == second.index("x  ")
    assert first.index("does not") == second.index("is no")


def test_wide_characters_take_two_cells_and_marks_none():
    assert (cells("abc"), cells("模型"), cells("e\u0301")) == (3, 4, 1)
    wide, narrow = shown(lines_text([Line("create", "模型", "a"), Line("create", "abcd", "b")], 80, 20))
    assert cells(wide[: wide.index("a")]) == cells(narrow[: narrow.index("b", 9)])


def test_names_cannot_steer_the_terminal():
    assert clean("a\x1b[2Jb\nc\u202ed") == "a�[2Jb c�d"
    assert "\x1b" not in "".join(shown(line_text(Line("create", "x", "\x1b]0;title\x07"), 80)))


def test_a_thousand_models_are_one_line():
    lines = [Line("create", "trading server", f"m/{n}", "trading_server", ("no instance",)) for n in range(1000)]
    (text,) = shown(lines_text(lines, 120, 20))
    assert text == "  + 1000 × trading server  m/0, m/1, m/2 and 997 more  no instance"  # noqa: RUF001


def test_a_thousand_models_with_reasons_of_their_own_are_one_line_too():
    lines = [Line("replace", "trading server", f"m/{n}", reasons=(f"version: {n} → {n + 1}",)) for n in range(1000)]
    texts = shown(lines_text([*lines, BUCKET], 120, 20))
    assert texts[0].startswith("  ± 1000 × trading server  m/0, m/1, m/2")  # noqa: RUF001
    assert "various reasons" in "".join(texts)
    assert len(texts) == 2


def test_a_crowd_with_one_reason_does_not_hide_the_exception():
    lines = [Line("create", "trading server", f"m/{n}", reasons=("no instance",)) for n in range(30)]
    odd = Line("create", "trading server", "m/odd", reasons=("its instance was terminated by hand",))
    texts = shown(lines_text([*lines, odd], 120, 20))
    assert len(texts) == 2
    assert "m/odd" in texts[1]


def test_twenty_lines_are_still_shown_one_by_one():
    lines = [Line("create", "trading server", f"m/{n}") for n in range(20)]
    assert len(lines_text(lines, 120, 20)) == 20


def test_a_task_on_many_hosts_is_one_line():
    lines = [Line("update", "task", "Install packages", host=f"web{n}") for n in range(300)]
    assert shown(lines_text(lines, 120, 20)) == ["  ~ task  Install packages  on web0, web1, web2 and 297 more"]


def test_a_task_with_another_diff_on_another_host_is_not_drawn_together():
    lines = [Line("update", "task", "Configure", host=f"web{n}", diff=f"+port: {n}") for n in range(2)]
    assert len([text for text in shown(lines_text(lines, 120, 20)) if "Configure" in text]) == 2


def test_the_plan_follows_the_order_of_components_and_leaves_out_what_stays():
    lines = [
        Line("update", "task", "Restart it", host="web1"),
        BUCKET,
        Line("no-op", "VPC", "unchanged-vpc", "network"),
        Line("create", "VPC", "vpc", "network"),
        Line("delete", "thing", "x", "somebody_elses"),
    ]
    texts = shown(plan_text(lines, ("network", "mlflow_server"), 80, 20))
    assert texts[0] == "+ create   ~ change   − remove"  # noqa: RUF001
    heads = [text for text in texts if text and not text.startswith(" ")][1:]
    assert heads == ["network", "mlflow_server", "somebody_elses", "Other steps"]
    assert "unchanged-vpc" not in "".join(texts)


def test_an_empty_plan_shows_nothing():
    assert plan_text([], ("network",), 80, 20) == []
    assert plan_text([Line("no-op", "VPC", "a", "network")], ("network",), 80, 20) == []


def test_counts_read_like_a_sentence():
    lines = [BUCKET] * 41 + [Line("update", "x", "y")] * 2 + [Line("delete", "x", "y")] + [Line("no-op", "x", "y")] * 12
    assert count_text(count(lines), todo=True) == "41 to create, 2 to change, 0 to replace, 1 to remove, 12 unchanged"
    assert count_text(count(lines), todo=False) == "41 created, 2 changed, 0 replaced, 1 removed, 12 unchanged"
    starts = count_text(count([Line("start", "x", "y")] * 3), todo=True)
    assert starts == "0 to create, 0 to change, 0 to replace, 0 to remove, 3 to start, 0 unchanged"


def test_a_failure_begins_with_where_and_what():
    failure = Failure("mlflow_server", "Create the database", "The quota is reached.\nAsk for more.", path="a.yml:3")
    assert shown(failure_text(failure, 80)) == [
        "✗ FAILED  mlflow_server: Create the database",
        "    The quota is reached.",
        "    Ask for more.",
        "    at a.yml:3",
    ]


def test_ignored_and_rescued_failures_say_that_the_run_goes_on():
    for failure in (Failure("h", "t", "m", ignored=True), Failure("h", "t", "m", rescued=True)):
        assert "the run continues" in shown(failure_text(failure, 80))[-1]
        assert failure_text(failure, 80)[0][0][0] == "warning"


def test_a_diff_is_shown_as_it_is_in_the_colours_of_its_marks():
    diff = "- a: 1\n+ a: 2\n  b: 3\n\ncreate  mean_reversion/AAPL/sma-outer_0_inner_1  has no server\n"
    assert diff_text(diff, 4, 0) == [
        [("remove", "    - a: 1")],
        [("add", "    + a: 2")],
        [("plain", "      b: 3")],
        [("plain", "    create  mean_reversion/AAPL/sma-outer_0_inner_1  has no server")],
    ]


def test_a_long_diff_is_cut_with_a_word():
    texts = shown(diff_text("\n".join(f"+{n}" for n in range(100)), 2, 80))
    assert len(texts) == 81
    assert "20 more lines" in texts[-1]


def test_what_looks_like_a_secret_by_its_name_is_not_shown():
    settings = {
        "master_user_password": "hunter2",
        "nested": [{"secret": "x", "token": ""}],
        "manage_master_user_password": True,
        "secret_arn": "arn:aws:x",
    }
    assert masked(settings) == {
        "master_user_password": "(hidden)",
        "nested": [{"secret": "(hidden)", "token": ""}],
        "manage_master_user_password": True,
        "secret_arn": "arn:aws:x",
    }
