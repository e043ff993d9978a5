"""Hosts as containers: podman makes, starts and ends them, in one enclosure."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from . import image
from .enclosure import ENDPOINT, ENDPOINT_PORT, NAME_SERVER, Enclosure, EnclosureError

_CAPABILITIES = (  # what systemd and its sandboxing need; a host is not privileged
    *("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_NICE", "SYS_PTRACE", "AUDIT_WRITE", "AUDIT_CONTROL", "DAC_READ_SEARCH"),
    *("LINUX_IMMUTABLE", "IPC_LOCK", "IPC_OWNER", "SYS_BOOT", "SYS_TTY_CONFIG", "LEASE", "MKNOD", "SYSLOG"),
)
# A systemd that is process 1 of a container can say goodbye only by the signal that ends it.
REBOOT, POWER_OFF = 129, 130
_STOP_SECONDS = 90


class Containers:
    """The hosts of one server.

    :param enclosure: an open one
    :param base: the store with the base image
    """

    def __init__(self, enclosure: Enclosure, base: Path) -> None:
        self._enclosure = enclosure
        self._making, self._preparing = threading.Lock(), threading.Lock()
        self._bridges: dict[str, tuple[str, str]] = {}  # network: its bridge, and the address of that
        self._network_of: dict[str, str] = {}
        self._hosts = 0
        self._base = base
        image.configure(enclosure, enclosure.directory / "storage", base)

    def create(self, name: str, address: str, cidr: str, host_name: str, region: str, source: str = image.NAME) -> None:
        """Make a host, without starting it.

        :param cidr: of its VPC; each is a network of its own
        """
        network = self._network(cidr)
        files = image.FILES
        self._podman(
            "create", "--name", name, "--pull", "never", "--hostname", host_name, "--tty",
            "--network", network, "--ip", address, "--dns", NAME_SERVER,
            "--systemd=false", "--cgroupns=private", "--cgroup-parent", f"/{self._enclosure.cgroup}",
            "--security-opt", "unmask=ALL", "--security-opt", "seccomp=unconfined",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:mode=1777,exec",  # noqa: S108 - the host's own
            "--stop-signal", "SIGRTMIN+3", "--log-driver", "k8s-file",
            "--volume", f"{files}:/usr/lib/embedded-aws:ro",
            "--env", f"EMBEDDED_AWS_ENDPOINT=http://{ENDPOINT}:{ENDPOINT_PORT}",
            "--env", f"EMBEDDED_AWS_REGION={region}",
            *(f"--cap-add={capability}" for capability in _CAPABILITIES),
            source, "/bin/sh", "/usr/lib/embedded-aws/init.sh",
        )  # fmt: skip
        self._made(name, network)

    def prepare_databases(self, log: Callable[[str], None]) -> None:
        """Make the image of databases where there is none, and have podman find it."""
        with self._preparing:
            more = image.ensure_database(self._base, log)
            image.configure(self._enclosure, self._enclosure.directory / "storage", self._base, more)

    def create_database(self, name: str, address: str, cidr: str, port: int, source: str = image.DATABASE) -> None:
        """Make a database, without starting it; `prepare_databases` comes first."""
        network = self._network(cidr)
        # The hardware address is the same after each start, so that clients need not find out that it has changed.
        self._podman(
            "create", "--name", name, "--pull", "never", "--network", network, "--ip", address,
            "--mac-address", _hardware(address), "--dns", NAME_SERVER,
            "--cgroupns=private", "--cgroup-parent", f"/{self._enclosure.cgroup}",
            "--stop-signal", "SIGINT", "--log-driver", "k8s-file", "--shm-size", "128m",
            "--volume", f"{image.FILES}:/usr/lib/embedded-aws:ro", "--env", f"EMBEDDED_AWS_PORT={port}",
            source, "/bin/sh", "/usr/lib/embedded-aws/database.sh",
        )  # fmt: skip
        self._made(name, network)

    def _made(self, name: str, network: str) -> None:
        with self._making:
            self._hosts += 1
            self._network_of[name] = network

    def start(self, name: str) -> None:
        self._podman("start", name)
        self._keep_address(name)
        self._weigh()

    def stop(self, name: str) -> None:
        """Power off in order, as EC2 does; what does not end is ended."""
        self._podman("stop", "--time", str(_STOP_SECONDS), name, timeout=_STOP_SECONDS + 60)

    def kill(self, name: str) -> None:
        self._podman("kill", name)

    def running(self, name: str) -> bool:
        return self._podman("inspect", "--format", "{{.State.Running}}", name).strip() == "true"

    def remove(self, name: str) -> None:
        """Delete a host and its disk; it may be running."""
        self._podman("rm", "--force", "--ignore", "--time", "0", name)

    def commit(self, name: str, tag: str, *, pause: bool = False) -> None:
        """Make an image of a host's disk, without stopping the host.

        :param pause: nothing runs meanwhile, so that the files are those of one moment
        """
        self._podman("commit", "--quiet", f"--pause={str(pause).lower()}", name, tag, timeout=600)

    def tag(self, image_name: str, other: str) -> None:
        """Give an image a second name."""
        self._podman("tag", image_name, other)

    def remove_image(self, tag: str) -> None:
        # Never with force, which removes running hosts.
        self._podman("rmi", "--ignore", tag)

    def execute(self, name: str, *command: str, timeout: float = 60) -> str:
        return self._podman("exec", name, *command, timeout=timeout)

    def feed(self, name: str, given: str, *command: str) -> str:
        """Run a command that reads what nobody else may see."""
        return self._enclosure.run("podman", "exec", "--interactive", name, *command, given=given)

    def shell(self, name: str) -> list[str]:
        """The command line of a root shell in a host."""
        given = [f"{key}={value}" for key, value in self._enclosure.environment().items()]
        return self._enclosure.command("env", *given, "podman", "exec", "-it", name, "bash", "-l")

    @property
    def network(self) -> Path:
        """The file of the network namespace that reaches all hosts."""
        return self._enclosure.network

    def console(self, name: str) -> str:
        """What the host wrote to its console."""
        return self._podman("logs", "--tail", "2000", name)

    def ends(self) -> Iterator[tuple[str, int]]:
        """Name and exit status of each host that ends, as it happens."""
        events = self._enclosure.popen("podman", "events", "--filter", "event=died", "--format", "json")
        assert events.stdout is not None
        for line in events.stdout:
            event = json.loads(line)
            yield event["Name"], int(event.get("ContainerExitCode") or 0)

    def _network(self, cidr: str) -> str:
        name = "vpc-" + cidr.replace(".", "-").replace("/", "-")
        with self._making:
            if name not in self._bridges:
                self._podman("network", "create", "--disable-dns", "--subnet", cidr, name)
                bridge = self._podman("network", "inspect", "--format", "{{.NetworkInterface}}", name).strip()
                self._bridges[name] = bridge, _hardware(str(ipaddress.ip_network(cidr)[1]))
        return name

    def _keep_address(self, name: str) -> None:
        """Give the bridge that a host is at an address of its own.

        The kernel gives it the lowest of those of its hosts. When that host stops, the address is another, and for half
        a minute the others send what is for AWS to the old one.
        """
        bridge, address = self._bridges[self._network_of[name]]
        with contextlib.suppress(EnclosureError):  # the host ended at once, and its bridge with it
            if f"link/ether {address} " not in self._enclosure.run("ip", "-oneline", "link", "show", "dev", bridge):
                self._enclosure.run("ip", "link", "set", "dev", bridge, "address", address)

    def _weigh(self) -> None:
        """All hosts share one control group, which would otherwise weigh as much as a single process."""
        for file, value in (("cpu/{}/cpu.shares", 1024), ("{}/cpu.weight", 100)):
            path = Path("/sys/fs/cgroup") / file.format(self._enclosure.cgroup)
            if path.exists():
                path.write_text(str(min(value * max(self._hosts, 1), value * 100)))

    def _podman(self, *arguments: str, timeout: float = 120) -> str:
        return self._enclosure.run("podman", *arguments, timeout=timeout)


def _hardware(address: str) -> str:
    """A hardware address that follows from an IP address."""
    return "02:00:" + ":".join(f"{int(each):02x}" for each in address.split("."))
