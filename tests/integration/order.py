"""In which order pytest-xdist hands out the tests: the long ones first, so that none of them runs alone at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

# Its scenarios are the longest tests, and have nothing in common but the server: each goes to whoever is free.
ONE_BY_ONE = "hosts/test_molecule.py"
# What takes a minute or more on two cores, longest first. The others follow by their number of tests.
LONG = (
    "hosts/test_molecule.py::test_the_scenario_passes[mlflow_server]",
    "test_site.py",
    "hosts/test_molecule.py::test_the_scenario_passes[alpaca_websocket]",
    "hosts/test_molecule.py::test_the_scenario_passes[gpu_host]",
    "hosts/test_molecule.py::test_the_scenario_passes[trading_server]",
    "hosts/test_images.py",
    "hosts/test_molecule.py::test_the_scenario_passes[common]",
    "test_environments.py",
    "test_destroy.py",
    "test_plan_callback.py",
    "test_settings.py",
    "test_identity.py",
    "test_awx.py",
    "embedded_aws/test_manager.py",
    "test_market_day.py",
    "test_resources_hosts.py",
)


def unit(nodeid: str) -> str:
    """What is handed out as one: a file, or one of its tests."""
    return nodeid if ONE_BY_ONE in nodeid else nodeid.partition("::")[0]


def ordered(nodeids: list[str]) -> list[str]:
    """The same tests, unit by unit; within one they stay in their order."""
    size = Counter(map(unit, nodeids))

    def rank(nodeid: str) -> tuple[int, int, str]:
        place = next((at for at, name in enumerate(LONG) if unit(nodeid).endswith(f"tests/integration/{name}")), None)
        return (len(LONG) if place is None else place), -size[unit(nodeid)], unit(nodeid)

    return sorted(nodeids, key=rank)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # one process runs all of them: as they stand in the files
    place = {nodeid: at for at, nodeid in enumerate(ordered([item.nodeid for item in items]))}
    items.sort(key=lambda item: place[item.nodeid])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    from xdist.scheduler import LoadFileScheduling

    class LongestFirst(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # it would put those with the most tests first
    return LongestFirst(config, log)
