"""The pins, requirements.yml, galaxy.yml and what is installed tell the same story."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import ansible_collections
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("python*.txt"))
SET = "3.11" if sys.version_info < (3, 12) else "3.12"
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", re.MULTILINE)
# What the `ansible` package of each set carries, and so what our tests have run with.
CARRIED = {
    "3.11": {"amazon.aws": "10.1.2", "community.aws": "10.0.0"},
    "3.12": {"amazon.aws": "11.4.0", "community.aws": "11.2.0"},
}


def pins(lock: Path) -> dict[str, str]:
    found = _PIN.findall(lock.read_text())
    assert len(found) == len({name for name, _version in found}), f"{lock.name} pins a name twice"
    return dict(found)


MLFLOW = sorted((ROOT / "roles/mlflow_server/files").glob("*.txt"))
GPU = sorted((ROOT / "roles/gpu_host/files").glob("*.txt"))
TRADING = sorted((ROOT / "examples/algo-modeling-v2").glob("requirements-*.txt"))


def required() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    return {item["name"]: item["version"] for item in listed}


def installed_collections() -> dict[str, str]:
    found: dict[str, str] = {}
    for place in ansible_collections.__path__:
        for name in CARRIED[SET]:
            manifest = Path(place, *name.split("."), "MANIFEST.json")
            if manifest.is_file():
                found[name] = json.loads(manifest.read_text())["collection_info"]["version"]
    return found


def test_there_are_all_sets_for_each_generation() -> None:
    assert {lock.name for lock in LOCKS} == {
        f"python{python}{kind}.txt" for python in ("3.11", "3.12") for kind in ("", "-dev", "-demo-feed", "-pull")
    }


@pytest.mark.parametrize("lock", LOCKS + MLFLOW + GPU + TRADING, ids=lambda lock: lock.name)
def test_every_pin_has_hashes_and_nothing_names_a_place(lock: Path) -> None:
    text = lock.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(_PIN.match(line) or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines)
    for block in re.split(r"\n(?=[a-z0-9])", "\n".join(lines)):
        assert "--hash=sha256:" in block, block
    assert not re.search(r"index-url|find-links|https?:|file:|@ ", text)


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_development_set_agrees_with_the_runtime_set(python: str) -> None:
    runtime = pins(ROOT / f"requirements/python{python}.txt")
    dev = pins(ROOT / f"requirements/python{python}-dev.txt")
    assert {name: dev[name] for name in runtime.keys() & dev.keys()} == {
        name: runtime[name] for name in runtime.keys() & dev.keys()
    }


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_demonstration_installs_a_small_part_of_what_is_tested(python: str) -> None:
    tested = {**pins(ROOT / f"requirements/python{python}.txt"), **pins(ROOT / f"requirements/python{python}-dev.txt")}
    demo = pins(ROOT / f"requirements/python{python}-demo-feed.txt")
    assert demo.items() <= tested.items()
    asked = {line for line in (ROOT / "requirements/demo-feed.in").read_text().splitlines() if line[:1] not in "#"}
    service = set((ROOT / "requirements/service.in").read_text().splitlines())
    assert asked - service == {"alpaca-py", "bokeh_sampledata"}
    assert len(demo) < 40, "alpaca-py alone brings eighteen; what else has come in?"


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_a_host_that_pulls_has_a_small_part_of_what_the_controller_has(python: str) -> None:
    pull = pins(ROOT / f"requirements/python{python}-pull.txt")
    assert pull.items() <= pins(ROOT / f"requirements/python{python}.txt").items()
    assert {"ansible-core", "boto3"} <= pull.keys()
    assert "ansible" not in pull


def test_what_is_installed_is_what_is_pinned() -> None:
    """Holds in the environments that make creates; elsewhere one difference is enough to say so."""
    if not (Path(sys.prefix) / ".algo-runtime").exists():
        pytest.skip("this interpreter's environment was not made by make")
    expected = pins(ROOT / f"requirements/python{SET}.txt") | pins(ROOT / f"requirements/python{SET}-dev.txt")
    installed = {name: metadata.version(name) for name in expected}
    assert installed == expected


def test_the_ansible_package_carries_the_collections_we_say_it_does() -> None:
    assert installed_collections() == CARRIED[SET]


def test_requirements_yml_asks_for_exactly_what_the_newest_set_carries() -> None:
    assert required() == CARRIED["3.12"], "requirements.yml has drifted from the pinned `ansible` package"


def test_galaxy_yml_admits_the_versions_of_both_sets_and_no_untested_generation() -> None:
    ranges = {name: SpecifierSet(text) for name, text in _galaxy()["dependencies"].items()}
    assert ranges.keys() == required().keys()
    for versions in CARRIED.values():
        assert all(Version(version) in ranges[name] for name, version in versions.items())
    for name, allowed in ranges.items():
        newest = Version(CARRIED["3.12"][name])
        assert Version(f"{newest.major + 1}.0.0") not in allowed


def test_our_own_collection_is_required_nowhere() -> None:
    assert "algo.trading" not in required()


def test_the_execution_environment_has_the_newest_set_s_ansible_core() -> None:
    environment = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    assert environment["version"] == 3
    core = pins(ROOT / "requirements/python3.12.txt")["ansible-core"]
    assert environment["dependencies"]["ansible_core"]["package_pip"] == f"ansible-core=={core}"
    assert environment["dependencies"]["galaxy"] == "requirements.yml"


def test_the_ansible_core_of_both_sets_is_admitted() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    allowed = SpecifierSet(runtime["requires_ansible"])
    for python in ("3.11", "3.12"):
        assert Version(pins(ROOT / f"requirements/python{python}.txt")["ansible-core"]) in allowed


def _galaxy() -> dict[str, dict[str, str]]:
    return dict(yaml.safe_load((ROOT / "galaxy.yml").read_text()))


def test_a_hosts_mlflow_is_what_is_released_without_what_only_a_client_loads() -> None:
    if not (ROOT / "inventories").is_dir():
        pytest.skip("the artifact has no inventories")
    wanted = re.search(r"^mlflow\[auth\]==(\S+)$", (ROOT / "requirements/mlflow-server.in").read_text(), re.MULTILINE)
    without = re.findall(r"^(\S+) ;", (ROOT / "requirements/mlflow-server-without.in").read_text(), re.MULTILINE)
    assert wanted
    assert without
    assert [lock.name for lock in MLFLOW] == ["mlflow-server-python3.11.txt", "mlflow-server-python3.12.txt"]
    for lock in MLFLOW:
        found = pins(lock)
        assert found["mlflow"] == wanted[1]
        assert not found.keys() & set(without)
    for file in (ROOT / "inventories").glob("*/group_vars/all/release.yml"):
        assert yaml.safe_load(file.read_text())["algo_release"]["mlflow"] == wanted[1], file


def test_a_gpu_host_has_pytorch_with_cuda_and_the_client_of_the_released_mlflow() -> None:
    assert [lock.name for lock in GPU] == ["gpu-host-python3.11.txt", "gpu-host-python3.12.txt"]
    for lock in GPU:
        found = pins(lock)
        assert {"torch", "triton", "nvidia-cublas", "boto3", "numpy", "pandas"} <= found.keys()
        assert found["torch"] == pins(GPU[0])["torch"]
        assert found["mlflow-skinny"] == pins(MLFLOW[0])["mlflow"]


def test_trading_code_is_installed_with_all_that_it_needs_in_the_versions_that_it_is_tested_with() -> None:
    folder = ROOT / "examples/algo-modeling-v2"
    if not folder.is_dir():
        pytest.skip("the artifact has no examples")
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    files = [f"requirements-python{python}.txt" for python in ("3.11", "3.12")]
    assert [lock.name for lock in TRADING] == files == project["tool"]["setuptools"]["data-files"]["share/algo-trader"]
    needed = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["trade"]
    for lock, python in zip(TRADING, ("3.11", "3.12"), strict=True):
        found = pins(lock)
        for requirement in map(Requirement, needed):
            assert found[requirement.name] in requirement.specifier
        tested = pins(ROOT / f"requirements/python{python}-dev.txt") | pins(ROOT / f"requirements/python{python}.txt")
        assert found.items() <= tested.items()
    build = project["build-system"]["requires"]
    assert all("==" in name for name in build), (
        "another version of the build tools makes another wheel of the same commit"
    )
