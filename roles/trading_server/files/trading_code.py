# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wheel of the trading code and the versions that it is installed with, on the controller.

    trading_code.py CACHE < request.json

Takes a file, fetches one from S3, or builds a commit of a git repository, each once: the cache keeps it. Prints path,
version, SHA-256 and id of the wheel and the path of its requirements as JSON. The request comes by stdin, so that no
credential is an argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND = "algo-trader"
# In the wheel, for each Python that it can be installed with.
REQUIREMENTS = "share/algo-trader/requirements-python{python}.txt"
PYTHONS = ("3.11", "3.12")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,. -]+\])?==[\w.!+-]+( *;[^#]*?)?( +--hash=sha256:[0-9a-f]{64})+")
_S3 = re.compile(r"s3://([^/]+)/(.+)")
_FETCH_SECONDS, _BUILD_SECONDS = 300, 900


class CodeError(Exception):
    """Why the code cannot be installed, and what to do."""


def check(request: dict[str, Any]) -> None:
    """Refuse settings that name no code, or more than one, or not exactly one version of it."""
    wheel, git, commit, sha256 = (request.get(name) or "" for name in ("wheel", "git", "commit", "sha256"))
    if bool(wheel) == bool(git):
        raise CodeError("Set one of trading_server_wheel and trading_server_git: both are set, or neither is.")
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise CodeError(f"trading_server_wheel_sha256 is {sha256}, which is no SHA-256 of 64 hexadecimal digits.")
    if wheel and not sha256:
        raise CodeError(f"{wheel} needs trading_server_wheel_sha256, so that nothing else is installed (sha256sum).")
    if wheel.startswith("s3:") and not (_S3.fullmatch(wheel) and wheel.endswith(".whl")):
        raise CodeError(f"trading_server_wheel is {wheel}, and must be s3://BUCKET/KEY with a key that ends in .whl.")
    if not git:
        return
    # First of all: no message may repeat such a URL.
    user = re.match(r"(?P<scheme>[a-z0-9+.-]+)://(?P<user>[^/@]*)@", git, re.IGNORECASE)
    if user and (":" in user["user"] or user["scheme"].lower() != "ssh"):
        raise CodeError(
            "trading_server_git contains a user or a password. Remove it from the URL, and give the controller a "
            "credential helper of git or an SSH key that may read the repository."
        )
    if git.startswith("-") or "::" in git:
        raise CodeError("trading_server_git must be a URL of https, ssh or file, or a path.")
    if not _COMMIT.fullmatch(commit):
        raise CodeError(
            f"trading_server_git_commit is '{commit}', and must be a full commit id: a branch, a tag or a short id can "
            f"name another commit tomorrow. git ls-remote {git} shows them."
        )


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """All hosts of a run ask at once; one fetches or builds, the others find it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(url: str, sha256: str, connection: dict[str, Any], cache: Path) -> Path:
    """The file of S3, from the cache if it is there."""
    match = _S3.fullmatch(url)
    assert match is not None
    kept = cache / sha256 / Path(match[2]).name
    with locked(cache):
        if not kept.is_file():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                got = Path(work) / kept.name
                _download(url, match[1], match[2], connection, got)
                _compare(url, got, sha256)
                kept.parent.mkdir(exist_ok=True)
                got.replace(kept)
    return kept


def _download(url: str, bucket: str, key: str, connection: dict[str, Any], to: Path) -> None:
    import boto3
    import botocore.exceptions

    try:
        session = boto3.session.Session(
            aws_access_key_id=connection.get("access_key"),
            aws_secret_access_key=connection.get("secret_key"),
            aws_session_token=connection.get("session_token"),
            profile_name=connection.get("profile"),
            region_name=connection.get("region"),
        )
        session.client("s3", endpoint_url=connection.get("endpoint_url")).download_file(bucket, key, str(to))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError) as error:
        raise CodeError(
            f"{url} cannot be fetched: {error}. It needs s3:GetObject for the credentials of this run."
        ) from error


def build(url: str, commit: str, cache: Path) -> Path:
    """The wheel of a commit, from the cache if it was built before."""
    kept = cache / commit
    with locked(cache):
        if not kept.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                _make(url, commit, Path(work))
                Path(work, "made").rename(kept)
    (wheel,) = kept.iterdir()
    return wheel


def _make(url: str, commit: str, work: Path) -> None:
    source, made = work / "source", work / "made"
    _git(work, url, "init", "--quiet", "--", str(source))
    try:
        _git(source, url, "fetch", "--quiet", "--depth=1", "--", url, commit)
    except CodeError:  # a server that gives nothing but what a branch or a tag names
        _git(source, url, "fetch", "--quiet", "--", url, "+refs/*:refs/remotes/all/*")
    _git(source, url, "-c", "advice.detachedHead=false", "checkout", "--quiet", commit, "--")
    # The commit's own time in the archive: the same commit makes the same wheel.
    env = {"SOURCE_DATE_EPOCH": _git(source, url, "show", "--no-patch", "--format=%ct", commit)}
    os.umask(0o022)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    _run([*pip, "--wheel-dir", str(made), str(source)], work, env, _BUILD_SECONDS, f"{url} at {commit} cannot be built")
    wheels = list(made.iterdir())
    if len(wheels) != 1 or not wheels[0].name.endswith("-none-any.whl"):
        raise CodeError(
            f"{url} at {commit} makes {', '.join(path.name for path in wheels) or 'no wheel'}, which is for the "
            "controller's platform. Build it for the hosts', and give it as trading_server_wheel."
        )


def _git(folder: Path, url: str, *args: str) -> str:
    # No question at a terminal that nobody sees.
    env = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}
    return _run(["git", *args], folder, env, _FETCH_SECONDS, f"{url} cannot be read")


def _run(command: list[str], folder: Path, env: dict[str, str], seconds: int, what: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=seconds,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise CodeError(f"{what}: the controller has no {command[0]}. Install it.") from error
    except subprocess.TimeoutExpired as error:
        raise CodeError(f"{what}: no answer within {seconds} s.") from error
    if done.returncode:
        raise CodeError(f"{what}: {(done.stderr.strip() or done.stdout.strip())[-1500:]}")
    return done.stdout.strip()


def _compare(name: str, wheel: Path, sha256: str) -> str:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if sha256 and found != sha256:
        raise CodeError(f"{name} has the SHA-256 {found}, and trading_server_wheel_sha256 is {sha256}.")
    return found


def requirements(wheel: zipfile.ZipFile, name: str, given: str, python: str) -> tuple[str, str]:
    """Text and source of what is installed beside the wheel, for the host's Python."""
    if given:
        path = Path(given)
        if not path.is_file():
            raise CodeError(f"trading_server_requirements is {given}, and the controller has no such file.")
        text, source = path.read_text(), given
    else:
        wanted = [REQUIREMENTS.format(python=version) for version in ([python] if python else PYTHONS)]
        found = [inner for inner in wheel.namelist() if any(inner.endswith(f".data/data/{path}") for path in wanted)]
        if not found:
            raise CodeError(
                f"{name} does not contain {' or '.join(wanted)}, the versions of what it needs with hashes. Add it "
                "to the wheel (data files), or give such a file: trading_server_requirements."
            )
        text, source = wheel.read(found[0]).decode(), f"{name}: {found[0]}"
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if line and not line.startswith("#") and not _PINNED.fullmatch(re.sub(r"\s+", " ", line)):
            raise CodeError(
                f"{source} must consist of NAME==VERSION --hash=sha256:…; this is something else: {line[:120]}"
            )
    return text, source


def describe(request: dict[str, Any], path: Path, cache: Path) -> dict[str, str]:
    """What the role installs, once everything about it is known to be right."""
    name, sha256 = path.name, _compare(path.name, path, request.get("sha256") or "")
    parts = name.removesuffix(".whl").split("-")
    if path.suffix != ".whl" or len(parts) < 5 or not zipfile.is_zipfile(path):
        raise CodeError(f"{path} is no wheel: NAME-VERSION-….whl.")
    version = parts[1]
    expected = request.get("version") or version
    if version != expected:
        raise CodeError(
            f"{name} is version {version}, and {expected} is released. Change algo_release.algo_modeling in "
            "release.yml, or trading_server_version, or give the wheel of that version."
        )
    given = request.get("requirements") or ""
    with zipfile.ZipFile(path) as wheel:
        commands = [wheel.read(inner).decode() for inner in wheel.namelist() if inner.endswith("/entry_points.txt")]
        if not any(re.search(rf"^{COMMAND}\s*=", text, re.MULTILINE) for text in commands):
            raise CodeError(f"{name} has no command {COMMAND}, so it is not trading code.")
        text, _source = requirements(wheel, name, given, request.get("python") or "")
    lock = hashlib.sha256(text.encode()).hexdigest()
    kept = cache / f"requirements-{lock[:12]}.txt"
    with locked(cache):
        new = kept.with_suffix(".new")
        new.write_text(text)
        new.replace(kept)
    # A commit stays the same whatever built it; another file of requirements is another environment.
    code = (request["commit"] if request.get("git") else sha256)[:12]
    return {
        "path": str(path),
        "version": version,
        "sha256": sha256,
        "id": f"{version}-{code}" + (f"-{lock[:6]}" if given else ""),
        "requirements": str(kept),
    }


def get(request: dict[str, Any], cache: Path) -> dict[str, str]:
    check(request)
    wheel = request.get("wheel") or ""
    if request.get("git"):
        path = build(request["git"], request["commit"], cache)
    elif wheel.startswith("s3:"):
        path = fetch(wheel, request["sha256"], request.get("connection") or {}, cache)
    else:
        path = Path(wheel).absolute()
        if not path.is_file():
            raise CodeError(f"trading_server_wheel is {wheel}, and the controller has no such file.")
    return describe(request, path, cache)


def main(arguments: list[str]) -> int:
    try:
        found = get(json.load(sys.stdin), Path(arguments[0]).expanduser().absolute())
    except CodeError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
