"""One server is broken so that its drain fails; later it is mended."""

from __future__ import annotations

from .cloud import Cloud, Instance

# The process dies and does not come back: what it held at the broker is not known, so a drain may not be confirmed.
_BREAK = "systemctl kill --signal=KILL algo-trader.service; systemctl stop algo-trader.service"


class Fault:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._broken: Instance | None = None

    def make(self, server: Instance) -> str:
        """Break it; returns what was done."""
        self._broken = server
        if not self._cloud.hosts:
            self._cloud.control("commands", "PUT", fail=[server.id])
            return f"commands on {server.model} ({server.id}) fail from now on: its drain will end with exit status 1"
        self._cloud.execute(server.id, _BREAK)
        return f"the trader of {server.model} ({server.id}) is killed and does not come back"

    def mend(self) -> str:
        """Returns what a person would have done."""
        broken, self._broken = self._broken, None
        if not self._cloud.hosts:
            self._cloud.control("commands", "PUT", fail=[])
            return "(the server takes commands again)"
        if broken is None:
            return ""
        self._cloud.execute(broken.id, "algo-host boot")
        return f"# on {broken.model}: algo-host boot"
