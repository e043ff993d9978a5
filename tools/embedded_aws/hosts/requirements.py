"""What a machine needs so that hosts can run on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Program: Debian package.
_PROGRAMS = {
    "podman": "podman",
    "runc": "runc",
    "/usr/lib/podman/netavark": "netavark",
    "iptables": "iptables",
    "nft": "nftables",
    "mmdebstrap": "mmdebstrap",
    "slirp4netns": "slirp4netns",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "ssh": "openssh-client",
}

# Of all hosts together, as all are root's. A host's systemd, journald, udevd, logind and others take so many.
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_EACH, _ENOUGH = 7, 1024

# systemd 256 asks for a kernel argument before it runs with version 1, 258 has no code for it (its NEWS file).
_WITHOUT_VERSION_1 = 256


def packages() -> list[str]:
    """Debian packages that are not installed."""
    return sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})


def distribution() -> str:
    """`debian`, `ubuntu`, or whatever this machine says that it is."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("ID=")), "")


def install(say: Callable[[str], None]) -> None:
    """Install the packages that are not there, as root of Debian or Ubuntu and after saying so; elsewhere nothing.

    What then still keeps hosts from running is what `missing` says.
    """
    lacking = packages()
    if not lacking or sys.platform != "linux" or os.geteuid() != 0 or distribution() not in ("debian", "ubuntu"):
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *lacking]
    say(f"embedded AWS: hosts need packages. Installing: {' '.join(command)}")
    if _apt(*command[1:]).returncode:  # the lists of packages may be missing or old
        _apt("update")
        done = _apt(*command[1:])
        if done.returncode:
            say(f"embedded AWS: {done.stderr.strip()[-600:]}")


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=env)


def missing() -> str:
    """Why hosts cannot run here, and what to type; empty if they can."""
    if sys.platform != "linux":
        return "hosts need Linux: run the clone in a Linux virtual machine"
    if os.geteuid() != 0:
        return "hosts need root: run it as root, with sudo -E"
    if shutil.which("apt-get") is None:
        return "hosts are made of Debian packages: use a Debian or Ubuntu machine"
    lacking = packages()
    if lacking:
        return f"packages are missing; type: apt-get install -y --no-install-recommends {' '.join(lacking)}"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "hosts need /dev/net/tun: load the tun module, or pass the device to this container"
    refusal = control_groups(Path("/sys/fs/cgroup"), systemd_version)
    if refusal:
        return refusal
    trial = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--cgroup", "--", "true"],
        capture_output=True,
        text=True,
    )
    if trial.returncode:
        return f"hosts need namespaces of their own: {trial.stderr.strip()}; allow CAP_SYS_ADMIN, on Linux 4.6 or later"
    return ""


def narrow(limit: Path = _INOTIFY) -> str:
    """What keeps more than a few hosts from running here, and what to type; empty if nothing does."""
    try:
        instances = int(limit.read_text())
    except (OSError, ValueError):
        return ""
    if instances >= _ENOUGH:
        return ""
    return (
        f"fs.inotify.max_user_instances is {instances}, enough for about {instances // _EACH} hosts of all clones "
        f"together; systemd ends at once in others. For more: sysctl -w fs.inotify.max_user_instances={_ENOUGH}"
    )


def control_groups(root: Path, systemd: Callable[[], int]) -> str:
    """Why systemd cannot run in a host with these control groups; empty if it can.

    :param systemd: tells the version that hosts get, 0 if it is not known; asked with version 1 only
    """
    unified = "boot the machine with systemd.unified_cgroup_hierarchy=1"
    if not os.access(root, os.W_OK):
        return f"hosts need control groups that can be written: mount {root} read-write"
    if (root / "cgroup.controllers").exists():
        return ""
    if not (root / "systemd").is_dir():
        return f"hosts need control groups of version 2, or of version 1 with {root}/systemd: {unified}"
    version = systemd()
    if version >= _WITHOUT_VERSION_1:
        return f"hosts get systemd {version}, which refuses control groups of version 1: {unified}"
    return ""


def systemd_version() -> int:
    """Of the package that hosts get, from the machine's own sources; 0 if apt does not know it."""
    told = subprocess.run(["apt-cache", "policy", "systemd"], capture_output=True, text=True, errors="replace").stdout
    found = re.search(r"Candidate: (\d+)", told)
    return int(found[1]) if found else 0
