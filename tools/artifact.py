"""Builds the collection, installs it as its users would, and runs ansible-test in that copy.

    artifact.py sanity [ARGUMENTS]     ansible-test sanity
    artifact.py units  [ARGUMENTS]     ansible-test units

ansible-test refuses the checkout, which it sees through a link. The copy becomes a repository of its own: in one that
lies in an ignored folder of ours, ansible-test would find no file. All it writes stays below `.cache`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

# ansible-test fetches pip's bootstrap from its own site; where that cannot be reached, the interpreter has one in it.
_GET_PIP = """\
import ensurepip
ensurepip.bootstrap()
"""


def install(work: Path) -> Path:
    """Builds and installs a fresh copy below `work`; returns where it lies."""
    shutil.rmtree(work / "built", ignore_errors=True)
    collections = work / "collections"
    shutil.rmtree(collections, ignore_errors=True)
    galaxy = str(BIN / "ansible-galaxy")
    _run(galaxy, "collection", "build", "--force", "--output-path", str(work / "built"), quiet=True)
    (tarball,) = (work / "built").glob("algo-trading-*.tar.gz")
    _run(galaxy, "collection", "install", "--no-deps", "--force", "-p", str(collections), str(tarball), quiet=True)
    copy = collections / "ansible_collections" / "algo" / "trading"
    _link_dependencies(copy.parents[1])
    _run("git", "init", "-q", str(copy))
    # Else what ansible-test itself writes there would be checked as well.
    (copy / ".git" / "info" / "exclude").write_text("/tests/output/\n__pycache__/\n")
    _run("git", "-C", str(copy), "add", "--all")
    return copy


def _link_dependencies(collections: Path) -> None:
    """Puts the collections that ours depends on beside it, as a user's installation has them."""
    import ansible_collections

    site = Path(ansible_collections.__path__[0])
    for name in ("amazon/aws", "community/aws"):
        (collections / name).parent.mkdir(parents=True, exist_ok=True)
        (collections / name).symlink_to(site / name, target_is_directory=True)


def bootstrap_pip(home: Path) -> None:
    """Puts the stand-in for get-pip where ansible-test looks for its download."""
    import ansible_test

    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    requirements = (Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py").read_text()
    for version in sorted({*re.findall(r"pip='([0-9.]+)'", requirements), "24.2"}):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(_GET_PIP)


def _run(*command: str, cwd: Path = ROOT, quiet: bool = False, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout or ''}{' '.join(command)} ended with {done.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sanity", "units"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    work = ROOT / ".cache" / f"ansible-test-{args.what}-{python}"
    home = work / "home"
    home.mkdir(parents=True, exist_ok=True)
    bootstrap_pip(home)
    env = os.environ | {"HOME": str(home), "ANSIBLE_TEST_PREFER_PODMAN": ""}
    env.pop("ANSIBLE_CONFIG", None)
    copy = install(work)
    # Sanity brings its own linters in an environment of its own. Units run in ours, on the versions that are pinned.
    where = ["--venv", "--python", python] if args.what == "sanity" else ["--python", python]
    command = [str(BIN / "ansible-test"), args.what, *where, "--color", "no", *args.arguments]
    return subprocess.run(command, cwd=copy, env=env, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
