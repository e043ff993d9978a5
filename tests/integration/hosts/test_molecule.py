"""Molecule's scenarios of the roles that configure hosts, each from an empty host to its end, on this session's AWS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import ROOT

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Yard

pytestmark = pytest.mark.hosts

# Roles named aws_* talk to AWS; all others configure one kind of host.
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if not path.name.startswith("aws_"))
# Several times what the longest takes: on a busy machine the scenarios wait for their conditions, not for the clock.
_SECONDS = 2400


def test_every_role_that_configures_hosts_has_a_scenario() -> None:
    assert ROLES
    assert {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")} == {*ROLES, "site"}


@pytest.mark.parametrize("role", ROLES)
def test_the_scenario_passes(yard: Yard, role: str, tmp_path: Path) -> None:
    molecule = str(Path(sys.executable).parent / "molecule")
    env = yard.env | {"MOLECULE_AWS_STATE": str(yard.state), "ANSIBLE_FORCE_COLOR": "false", "NO_COLOR": "1"}
    env = {name: value for name, value in env.items() if name not in ("ANSIBLE_CONFIG", "ANSIBLE_HOME")}
    done = subprocess.run(
        [molecule, "test", "--scenario-name", role],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
