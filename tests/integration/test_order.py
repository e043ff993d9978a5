"""The order in which tests are handed out names what exists, and keeps the tests of a file together."""

from __future__ import annotations

from ansible_collections.algo.trading.tests.integration.conftest import ROOT
from ansible_collections.algo.trading.tests.integration.order import LONG, ordered, unit

HERE = "tests/integration/"


def test_what_it_names_exists() -> None:
    for name in LONG:
        file, _, test = name.partition("::")
        text = (ROOT / HERE / file).read_text()
        function, _, case = test.partition("[")
        assert not test or f"def {function}(" in text, name
        assert not case or (ROOT / "molecule" / case.rstrip("]") / "molecule.yml").exists(), name


def test_long_ones_come_first_then_those_with_most_tests_and_files_stay_together() -> None:
    few = [f"{HERE}test_few.py::test_{name}" for name in "ba"]
    many = [f"{HERE}test_many.py::test_{name}" for name in "xyz"]
    site, mlflow = f"{HERE}test_site.py::test_x", HERE + LONG[0]
    assert ordered([*few, many[0], site, many[1], mlflow, many[2]]) == [mlflow, site, *many, *few]
    assert unit(mlflow) == mlflow
    assert unit(site) == f"{HERE}test_site.py"
