"""What a host is to the parts that make, boot and ask it, and the thread that works for one of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from .enclosure import EnclosureError

_LEAVE_SECONDS = 180


def live(work: queue.Queue[Callable[[], None] | None], name: str, fail: Callable[[str], None]) -> None:
    """Do the steps that are queued, in a thread of its own, until a `None` comes.

    :param name: the thread's
    :param fail: gets the reason of a step that failed; whatever it is, the next step is done
    """

    def steps() -> None:
        while (step := work.get()) is not None:
            try:
                step()
            except Exception as error:
                fail(str(error) if isinstance(error, EnclosureError) else repr(error))

    threading.Thread(target=steps, daemon=True, name=name).start()


class Host:
    """One instance's container.

    :param instance: moto's record; read and changed under moto's lock only
    """

    def __init__(self, instance: Any, region: str, cidr: str) -> None:
        self.instance = instance
        self.id: str = instance.id
        self.region = region
        self.cidr = cidr
        self.vpc = str(instance.vpc_id)
        self.address: str = instance.private_ip
        self.image: str = instance.image_id
        self.name_in_dns: str = instance.private_dns_name
        self.status = "initializing"  # or ok, impaired
        self.console = ""  # of an earlier life
        self.work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.expected_end = False
        self.gone = threading.Event()

    def leave(self) -> None:
        """Wait for its address to be free.

        :raises EnclosureError: if that takes too long
        """
        if not self.gone.wait(_LEAVE_SECONDS):
            raise EnclosureError(f"{self.id} still has the address {self.address}.")

    def groups(self) -> list[Any]:
        """Its security groups, as they are now."""
        # moto's interface keeps the groups of the launch when the instance is given others.
        own = self.instance.security_groups
        return list(own or [group for nic in self.instance.nics.values() for group in nic.group_set])
