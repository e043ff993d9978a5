# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make demo` and the like do in the shell: tools/local.sh and tools/env.sh."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import ROOT

HOSTS = """i-1  10.10.0.4        running        ok            alpaca_websocket
i-2  10.10.0.7        terminated     ok            mlflow_server
i-3  10.10.0.8        pending        initializing  mlflow_server
i-4  10.10.0.9        running        ok            momentum/AAPL/sma-outer_0_inner_0
"""


def shell(script: str, **env: str) -> str:
    command = ["sh", "-eu", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_a_persons_own_settings_gets_in_but_where_to_write_json() -> None:
    given = {"ALGO_PLAN_JSON": "status.json", "ALGO_OTHER": "x", "AWS_PROFILE": "x", "ANSIBLE_FORKS": "1"}
    seen = shell(". tools/env.sh; env", **given)
    assert "ALGO_PLAN_JSON=status.json\n" in seen
    assert not [line for line in seen.splitlines() if re.match("(ALGO_OTHER|AWS_PROFILE|ANSIBLE_FORKS|json)=", line)]
    assert "ALGO_PLAN_JSON" not in shell(". tools/env.sh; env")


@pytest.mark.parametrize(("before", "after", "noted"), [("i-3", "i-5", "i-1 i-5"), ("i-1", "i-6", "i-3 i-6")])
def test_another_instance_in_the_place_of_a_configured_one_is_noticed(
    before: str, after: str, noted: str, tmp_path: Path
) -> None:
    function = re.search(r"^pushed\(\) \{\n.*?^\}", (ROOT / "tools" / "local.sh").read_text(), re.MULTILINE | re.DOTALL)
    assert function
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()

    def pushed(hosts: str) -> str:
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{hosts}END\n")
        program.chmod(0o755)
        return shell(f"{function[0]}\npushed", venv=str(tmp_path)).strip()

    assert pushed(HOSTS) == "i-1 i-3"
    assert pushed(HOSTS.replace("i-4", "i-9")) == "i-1 i-3"
    assert pushed(HOSTS.replace(before, after)) == noted
