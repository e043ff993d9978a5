"""What a machine needs so that hosts can run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

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


def packages() -> list[str]:
    """Debian packages that are not installed."""
    return sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})


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
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "hosts need control groups that can be written: mount /sys/fs/cgroup read-write"
    trial = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--", "true"], capture_output=True, text=True
    )
    if trial.returncode:
        return f"hosts need namespaces of their own: {trial.stderr.strip()}; allow CAP_SYS_ADMIN"
    return ""
