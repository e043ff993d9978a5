"""Keeps the namespaces of `enclosure`: run as a program of its own, so that it outlives a server that was killed.

keeper.py DIRECTORY CGROUP          makes the namespaces, prints process 1's id, and cleans up after it
keeper.py --init                    is process 1; ends when its standard input closes
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_ADDRESSES = ("169.254.169.254/32", "169.254.169.253/32", "169.254.170.1/32")


def main() -> None:
    if sys.argv[1:] == ["--init"]:
        _init()
        return
    directory, cgroup = Path(sys.argv[1]), sys.argv[2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever stops the server waits for this lock, so that nothing is left when it returns.
    lock = (directory.parent / "hosts.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    clean(directory / "storage", cgroup)
    ready, tell = os.pipe()
    inside = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--net",
            "--ipc",
            sys.executable,
            "-I",
            __file__,
            "--init",
        ],
        stdout=tell,
    )
    os.close(tell)
    uplink = None
    if os.read(ready, 1):
        children = Path(f"/proc/{inside.pid}/task/{inside.pid}/children").read_text().split()
        uplink = _uplink(children[0])
        print(children[0], flush=True)
    inside.wait()
    if uplink is not None:
        uplink.kill()
        uplink.wait()
    clean(directory, cgroup)


def _uplink(init: str) -> subprocess.Popen[bytes] | None:
    """The way out of the network namespace, for packages; hosts do without where it cannot be had."""
    program = shutil.which("slirp4netns")
    if program is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return None
    ready, tell = os.pipe()
    command = [program, "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={tell}", init, "tap0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=[tell])
    os.close(tell)
    os.read(ready, 1)  # or the end of the process
    os.close(ready)
    return process


def _init() -> None:
    """Process 1: reaps, waits for the server to end, and takes everything with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for command in (
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run"],
        ["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"],  # noqa: S108 - in this namespace only
        ["ip", "link", "set", "lo", "up"],
        *(["ip", "address", "add", address, "dev", "lo"] for address in _ADDRESSES),
    ):
        subprocess.run(command, check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    os.write(1, b"\n")
    os.dup2(2, 1)
    while os.read(0, 4096):
        pass


def clean(directory: Path, cgroup: str) -> None:
    """Delete what outlives the namespaces: files and empty control groups."""
    shutil.rmtree(directory, ignore_errors=True)
    deadline = time.monotonic() + 10
    while groups := [*Path("/sys/fs/cgroup").glob(f"*/{cgroup}"), *Path("/sys/fs/cgroup").glob(cgroup)]:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # a process in it has not quite ended
                    os.rmdir(folder)
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)


if __name__ == "__main__":
    main()
