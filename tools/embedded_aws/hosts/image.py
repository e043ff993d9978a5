"""The images of hosts and databases: made once of the machine's own package sources, kept in `.cache` by recipe."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .enclosure import OUTSIDE_NAME_SERVER, Enclosure, EnclosureError

NAME = "localhost/embedded-aws-host:base"
DATABASE = "localhost/embedded-aws-host:postgresql"
FILES = Path(__file__).with_name("files")
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "hosts"
_RECIPE = ("setup.sh", "cloud.cfg", "amazon-ssm-agent.service")
_DATABASE_RECIPE = "postgresql.sh"
_PACKAGES = (
    "systemd systemd-sysv dbus python3 python3-apt sudo iproute2 iputils-ping ca-certificates curl procps"
    " openssh-server cloud-init nftables netcat-openbsd"
)
_MINUTES = 15


def sources() -> tuple[str, list[str]]:
    """Suite and one-line entries of the machine's own distribution, other package sources left out.

    The environment's `EMBEDDED_AWS_SUITE` names another release of it.

    :raises EnclosureError: if apt knows none
    """
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename, own = release.get("VERSION_CODENAME", "").strip('"'), release.get("ID", "").strip('"')
    suite = os.environ.get("EMBEDDED_AWS_SUITE") or codename
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
         "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    entries = sorted(
        {
            re.sub(rf" {codename}(-\S+)? ", rf" {suite}\1 ", line.partition("|")[2])
            for line in listed.splitlines()
            if line.partition("|")[0].lower() == own.lower()
        }
    )
    if not codename or not entries:
        raise EnclosureError("apt has no package lists of this machine's distribution. Type: apt-get update")
    return suite, entries


def store(entries: list[str]) -> Path:
    """Where the image of this recipe is kept."""
    content = hashlib.sha256()
    for part in (_PACKAGES, platform.machine(), *entries):
        content.update(part.encode() + b"\n")
    for file in (*(FILES / name for name in _RECIPE), *sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))):
        content.update(file.read_bytes())
    return CACHE / content.hexdigest()[:16]


def ensure(log: Callable[[str], None]) -> Path:
    """Make the image unless it is there; returns the store that holds it.

    :raises EnclosureError: if it cannot be made
    """
    suite, entries = sources()
    kept = store(entries)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several servers of a clone share it
        if (kept / "complete").exists():
            return kept
        log("hosts: making the base image from Debian packages (once, about a minute)")
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        _make(kept, suite, entries)
        (kept / "complete").touch()
    return kept


def _make(kept: Path, suite: str, entries: list[str]) -> None:
    listing, tar = kept / "sources.list", kept / "base.tar"
    listing.write_text("".join(f"{entry}\n" for entry in entries))
    # In namespaces of its own, so that nothing stays mounted if it is interrupted.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
               "timeout", f"{_MINUTES}m", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
               f"--include={_PACKAGES.replace(' ', ',')}", f"--customize-hook={FILES / 'setup.sh'} \"$1\"",
               suite, str(tar), str(listing)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        raise EnclosureError(f"mmdebstrap could not make the base image of hosts:\n{done.stderr[-1500:]}")
    importing = Enclosure(kept / "import")
    importing.open()
    try:
        configure(importing, kept / "storage")
        importing.run("podman", "import", "--quiet", str(tar), NAME, timeout=_MINUTES * 60)
    finally:
        importing.close()
    tar.unlink()


def ensure_database(base: Path, log: Callable[[str], None]) -> Path:
    """Make the image of databases unless it is there: the base image with PostgreSQL of the same distribution.

    :param base: a store from `ensure`
    :returns: the store that holds the difference
    :raises EnclosureError: if it cannot be made
    """
    recipe = (FILES / _DATABASE_RECIPE).read_bytes()
    kept = base / f"postgresql-{hashlib.sha256(recipe).hexdigest()[:16]}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (kept / "complete").exists():
            return kept
        log("hosts: making the image of databases: PostgreSQL from Debian packages (once)")
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        making = Enclosure(kept / "make")
        making.open()
        try:
            configure(making, kept / "storage", base)
            making.run(
                "podman", "run", "--name", "postgresql", "--pull", "never", "--network", "host",
                "--dns", OUTSIDE_NAME_SERVER, "--cgroupns=private", "--cgroup-parent", f"/{making.cgroup}",
                "--volume", f"{FILES}:/usr/lib/embedded-aws:ro", NAME,
                "/bin/sh", f"/usr/lib/embedded-aws/{_DATABASE_RECIPE}", timeout=_MINUTES * 60,
            )  # fmt: skip
            making.run("podman", "commit", "--quiet", "postgresql", DATABASE, timeout=_MINUTES * 60)
            making.run("podman", "rm", "--force", "postgresql")
        finally:
            making.close()
        (kept / "complete").touch()
    return kept


def configure(enclosure: Enclosure, storage: Path, *kept: Path) -> None:
    """Write podman's settings: nothing of it is in the machine's own places.

    :param storage: what podman writes
    :param kept: stores from `ensure` and `ensure_database`
    """
    stores = ", ".join(f'"{each / "storage"}"' for each in kept)
    more = f"\n[storage.options]\nadditionalimagestores = [{stores}]\n" if kept else ""
    _write(
        enclosure.directory / "storage.conf",
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}"\nrunroot = "/run/storage"\n{more}',
    )
    _write(
        enclosure.directory / "containers.conf",
        # The limits are below what machines commonly allow; more would keep a host from starting. No limit of podman's
        # on a host's processes: EC2 has none, and not every machine has that controller.
        '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]\npids_limit = 0\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "/run/libpod"\n'
        f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{enclosure.directory / "networks"}"\n',
    )


def _write(path: Path, text: str) -> None:
    """Write at once: podman may be about to read it, and would take its defaults for what is not there yet."""
    if not path.exists() or path.read_text() != text:
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.replace(path)
