"""EC2's instances are hosts: their states, reasons and status checks are what happened to the containers.

moto keeps the records. Its methods are patched in one place, `patch`, and called under moto's lock; everything that
takes time is queued for the host's own thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .. import account
from .containers import POWER_OFF, REBOOT, Containers
from .enclosure import EnclosureError
from .host import Host, live

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_BOOT_SECONDS = 300
_BOOTS_AT_ONCE = 4
# systemd answers only once its bus is up, and then for the whole of the boot, user data included.
_BOOTED = """until case $(systemctl is-system-running --wait 2>/dev/null) in
    running|degraded|maintenance) true ;; *) false ;; esac; do sleep 0.2; done"""


class Instances:
    """The hosts of one server.

    :param containers: called once, in the background; makes the base image where there is none
    """

    def __init__(
        self, containers: Callable[[], Containers], moto: AbstractContextManager[Any], log: Callable[[str], None]
    ) -> None:
        self._make_containers, self._moto, self._log = containers, moto, log
        self._containers: Containers | None = None
        self._problem = ""
        self._ready = threading.Event()
        self._hosts: dict[str, Host] = {}
        self._changing = threading.Lock()
        self._booting = threading.Semaphore(_BOOTS_AT_ONCE)
        self.images: set[str] = set()  # made by CreateImage
        self.before_boot: Callable[[], None] = lambda: None

    def prepare(self) -> None:
        """Get ready to run containers; instances that are launched meanwhile wait in `pending`."""
        try:
            self._containers = self._make_containers()
        except (EnclosureError, OSError) as error:
            self._problem = str(error)
            self._log(f"hosts: cannot run: {error}")
        else:
            threading.Thread(target=self._watch, daemon=True, name="ends of hosts").start()
            self._log("hosts: ready")
        self._ready.set()

    # What the other parts ask

    def at(self, address: str) -> Host | None:
        """The host with this address."""
        with self._changing:
            return next((host for host in self._hosts.values() if host.address == address), None)

    def named(self, name: str) -> Host | None:
        """The host with this private DNS name."""
        with self._changing:
            return next((host for host in self._hosts.values() if host.name_in_dns == name), None)

    def all(self) -> list[Host]:
        with self._changing:
            return list(self._hosts.values())

    def get(self, instance_id: str) -> Host | None:
        with self._changing:
            return self._hosts.get(instance_id)

    def containers(self) -> Containers:
        """:raises EnclosureError: if hosts cannot run"""
        self._ready.wait()
        if self._containers is None:
            raise EnclosureError(self._problem)
        return self._containers

    def console(self, instance_id: str) -> str:
        host = self.get(instance_id)
        if host is None:
            return ""
        with contextlib.suppress(EnclosureError):
            return self.containers().console(host.id)
        return host.console

    def report(self) -> list[dict[str, Any]]:
        """The hosts as they are, with the command line of a root shell in each, and the network they are in."""
        containers = self.containers()
        return [
            {
                "instance": host.id,
                "what": _what(account.tags_of(host.id, host.region)),
                "address": host.address,
                "state": host.instance.state,
                "status": host.status,
                "shell": containers.shell(host.id),
                "network": str(containers.network),
            }
            for host in self.all()
        ]

    # What EC2's operations do; under moto's lock

    def launch(self, instance: Any, region: str, cidr: str) -> None:
        host = Host(instance, region, cidr)
        with self._changing:
            before = next((each for each in self._hosts.values() if each.address == host.address), None)
            self._hosts[host.id] = host
        _set(instance, "pending")
        live(host.work, host.id, lambda why: self._fail(host, why))
        host.work.put(lambda: self._create(host, before))

    def start(self, host: Host) -> None:
        _set(host.instance, "pending")
        host.work.put(lambda: self._boot(host))

    def stop(self, host: Host) -> None:
        _set(host.instance, "stopping")
        host.expected_end = True
        host.work.put(lambda: self._stop(host))

    def reboot(self, host: Host) -> None:
        host.expected_end = True
        host.work.put(lambda: self._reboot(host))

    def terminate(self, host: Host) -> None:
        _set(host.instance, "shutting-down")
        host.expected_end = True
        host.work.put(lambda: self._terminate(host))

    def image(self, host: Host, image: Any) -> None:
        """Make an image of a host's disk; `pending` until it is there."""
        image.state = "pending"
        self.images.add(image.id)
        host.work.put(lambda: self._image(host, image))

    def drop_image(self, image_id: str) -> None:
        if image_id in self.images:
            self.images.discard(image_id)
            with contextlib.suppress(EnclosureError):
                self.containers().remove_image(image_name(image_id))

    def forget(self) -> None:
        """Remove all hosts: the account was reset."""
        hosts = self.all()
        for host in hosts:
            host.expected_end = True
            host.work.put(lambda host=host: self._remove(host))  # type: ignore[misc]
        for host in hosts:
            host.gone.wait(60)
        if self._containers is not None:
            for tag in self.images:
                with contextlib.suppress(EnclosureError):
                    self._containers.remove_image(image_name(tag))
        self.images.clear()

    # What a host's own thread does

    def _fail(self, host: Host, why: str) -> None:
        self._log(f"hosts: {host.id}: {why}")
        with self._moto:
            host.status = "impaired"

    def _create(self, host: Host, before: Host | None) -> None:
        try:
            if before is not None:
                before.leave()
            source = {"source": image_name(host.image)} if host.image in self.images else {}
            name = host.name_in_dns.partition(".")[0]
            self.containers().create(host.id, host.address, host.cidr, name, host.region, **source)
            self._boot(host, first=True)
        except EnclosureError as error:
            self._log(f"hosts: {host.id} could not be made: {error}")
            with self._moto:
                host.instance.terminate_record()
                _set(host.instance, "terminated", "Server.InternalError", f"The host could not be made: {error}")
            self._remove(host)

    def _boot(self, host: Host, first: bool = False) -> None:
        with self._booting:
            began = time.monotonic()
            host.expected_end = False
            host.status = "initializing"
            try:
                containers = self.containers()
                self.before_boot()
                containers.start(host.id)
            except EnclosureError as error:
                if first:
                    raise
                with self._moto:
                    _set(host.instance, "stopped", "Server.InternalError", f"The host could not be started: {error}")
                return
            with self._moto:
                if host.instance.state == "pending":
                    _set(host.instance, "running")
            try:
                self.containers().execute(host.id, "sh", "-c", _BOOTED, timeout=_BOOT_SECONDS)
            except EnclosureError as error:
                if not host.expected_end:
                    host.status = "impaired"
                    self._log(f"hosts: {host.id} did not finish booting: {error}")
            if not host.expected_end and host.status == "initializing":
                host.status = "ok"
                self._log(f"hosts: {host.id} booted in {time.monotonic() - began:.1f} s")

    def _stop(self, host: Host) -> None:
        self.containers().stop(host.id)
        with self._moto:
            if host.instance.state == "stopping":
                _set(host.instance, "stopped")

    def _reboot(self, host: Host) -> None:
        self.containers().stop(host.id)
        self._boot(host)

    def _terminate(self, host: Host) -> None:
        with contextlib.suppress(EnclosureError):
            self.containers().stop(host.id)
        self._remove(host)
        with self._moto:
            _set(host.instance, "terminated")

    def _image(self, host: Host, image: Any) -> None:
        state = "available"
        try:
            self.containers().commit(host.id, image_name(image.id))
        except EnclosureError as error:
            state = "failed"
            self._log(f"hosts: no image of {host.id}: {error}")
        with self._moto:
            image.state = state

    def _remove(self, host: Host) -> None:
        try:
            if self._containers is not None:
                with contextlib.suppress(EnclosureError):
                    host.console = self._containers.console(host.id)
                self._containers.remove(host.id)
        finally:
            host.gone.set()
            host.work.put(None)
            with self._changing:
                self._hosts.pop(host.id, None)

    # What hosts do by themselves

    def _watch(self) -> None:
        for name, status in self.containers().ends():
            host = self.get(name)
            if host is not None and not host.expected_end:
                host.work.put(lambda host=host, status=status: self._ended(host, status))  # type: ignore[misc]

    def _ended(self, host: Host, status: int) -> None:
        if host.expected_end or self.containers().running(host.id):  # the news of an earlier end came late
            return
        self._log(f"hosts: {host.id} ended by itself with exit status {status}")
        if status == REBOOT:
            self._boot(host)
        elif status in (0, POWER_OFF):
            code, reason = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
            with self._moto:
                ends = host.instance.instance_initiated_shutdown_behavior == "terminate"
                if ends:
                    host.instance.terminate_record()
                else:
                    host.instance.stop_record()
                _set(host.instance, "terminated" if ends else "stopped", code, reason)
            if ends:
                self._remove(host)
        else:  # as a machine whose kernel died: still on, but no longer answering
            host.status = "impaired"


def image_name(image_id: str) -> str:
    return f"localhost/embedded-aws-{image_id}:latest"


def _set(instance: Any, state: str, code: str = "", message: str = "") -> None:
    instance._state.name, instance._state.code = state, _CODES[state]
    if code:
        from moto.ec2.models.instances import StateReason

        instance._reason = message
        instance.state_reason = StateReason(f"{code}: {message}", code)


def _what(tags: dict[str, str]) -> str:
    """What a person knows a host by."""
    return tags.get("Model") or tags.get("Component") or tags.get("Name", "")
