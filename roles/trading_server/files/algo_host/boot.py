# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""First boot and day two: the same steps, from the host's settings to a trader that runs. Each is timed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import artifact, configuration, drain, halt, units
from .errors import HostError, NotYet, Refused
from .imds import Claim, Imds, wait_for_claim
from .places import UNIT, USER, Places, as_json, read_json, replace
from .settings import Settings, read_settings

_START_SECONDS = 180


class Services(artifact.Source, Protocol):
    def parameter(self, name: str) -> str: ...

    def secret(self, name: str) -> dict[str, str]: ...

    def log(self, group: str, stream: str, text: str) -> None: ...


@dataclass
class Run:
    """One boot or configuration, and what came of it."""

    places: Places
    imds: Imds
    connect: Callable[[str], Services]
    claim_seconds: float
    phases: list[dict[str, Any]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    settings: Settings | None = None
    claim: Claim | None = None
    services: Services | None = None
    halted: str = ""
    powered_on: float | None = None
    """Seconds from power-on to the start of this; None for a run that is no boot."""

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases.append({"name": name, "seconds": round(time.monotonic() - began, 3)})

    def configure(self) -> None:
        """Make everything that the trader needs, but do not start it."""
        with self.phase("settings"):
            self.settings = settings = read_settings(self.places.fleet)
        with self.phase("claim"):
            self.claim = claim = wait_for_claim(self.imds, settings, self.claim_seconds)
        with self.phase("connect"):
            self.services = services = self.connect(settings.region)
        with self.phase("halt"):
            reasons, trouble = halt.ask(self.places, settings.halt_parameter, services.parameter, claim.model)
            self.halted = "; ".join(why for why in (*reasons.values(), trouble) if why)
        with self.phase("model"):
            folder, _new = artifact.fetch(services, claim, settings.model_bucket, self.places.models)
        with self.phase("secret"):
            keys = services.secret(settings.broker_secret)
        with self.phase("configuration"):
            self._write(settings, claim, folder, keys)

    def _write(self, settings: Settings, claim: Claim, folder: Any, keys: dict[str, str]) -> None:
        places = self.places
        wanted = configuration.trader_configuration(settings, claim, folder, places)
        changed = {
            "model": artifact.switch(places.models, claim.version),
            "credentials": replace(places.credentials, as_json(keys), mode=0o600),
            "configuration": replace(places.trader, as_json(wanted), mode=0o640, group=USER),
            "unit": replace(places.drop_in, configuration.unit_limits(settings)),
        }
        if changed["unit"]:
            units.reload()
        self.changes += [name for name, done in changed.items() if done]

    def start(self, *, restart: bool = False) -> None:
        """Start the trader, unless it runs.

        :param restart: drain a trader that runs with an older configuration, and start it again
        :raises HostError: with its own reason, if it did not start
        """
        with self.phase("start"):
            if not self.places.credentials.exists():
                raise Refused("The host has not been configured since its boot. Type: algo-host boot")
            if restart and restart_needed(self.places):
                with self.places.locked("drain"):
                    drain.drain(self.places)
            unit = units.show(UNIT)
            if not unit.installed or not os.access(self.places.command, os.X_OK):
                raise Refused(f"{UNIT} or its code is not installed. Run the install phase of the role trading_server.")
            if unit.active == "active":
                return
            if not units.start(UNIT, _START_SECONDS):
                raise _not_started(self.places)
            self.changes.append("started")

    def report(self, error: HostError | None) -> dict[str, Any]:
        claim = self.claim
        return {
            "result": error.result if error else "ok",
            "reason": str(error) if error else "",
            "model": claim.model if claim else "",
            "version": claim.version if claim else "",
            "instance": claim.instance_id if claim else "",
            "halted": self.halted,
            "changed": bool(self.changes),
            "changes": self.changes,
            "restart_needed": restart_needed(self.places),
            "phases": self.phases,
            "seconds": round(sum(phase["seconds"] for phase in self.phases), 3),
            "powered_on": self.powered_on,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def perform(run: Run, *steps: Callable[[], None]) -> tuple[dict[str, Any], int]:
    """Do the steps; the report and the exit status."""
    error: HostError | None = None
    try:
        with run.places.locked("change"):
            for step in steps:
                step()
    except HostError as failure:
        error = failure
    except OSError as failure:  # a full disk, a file that is a folder
        error = NotYet(f"The host's own disk or network failed: {failure}")
        error.__cause__ = failure
    return run.report(error), error.exit_status if error else 0


def publish(run: Run, report: dict[str, Any]) -> None:
    """Where an operator looks: a file, and the log group. The journal has what is printed."""
    with contextlib.suppress(OSError):
        replace(run.places.boot_report, as_json(report))
    if run.settings and run.services and run.claim:
        stream = f"{run.claim.instance_id}/boot/{report['time'].replace(':', '.')}"
        with contextlib.suppress(HostError):  # a boot does not fail for its log
            run.services.log(run.settings.log_group, stream, as_json(report))


def configured(places: Places) -> str:
    """A fingerprint of everything that a trader reads only at its start."""
    found = hashlib.sha256()
    for path in (places.trader, places.drop_in, places.credentials, places.command.parent.parent):
        with contextlib.suppress(OSError):
            found.update(os.fsencode(path.resolve()) if path.is_dir() else path.read_bytes())
    return found.hexdigest()


def note_start(places: Places) -> None:
    """The trader is about to start, by whomever: it will read what is there now."""
    replace(places.own_run / "started", configured(places) + "\n")


def restart_needed(places: Places) -> bool:
    """Whether the running trader was started with something else."""
    started = places.own_run / "started"
    try:
        return started.read_text().strip() != configured(places) and units.show(UNIT).active == "active"
    except OSError:
        return False


def _not_started(places: Places) -> HostError:
    unit, health = units.show(UNIT), read_json(places.health)
    why = str(health.get("reason") or f"result {unit.result}, exit status {unit.status}; see: journalctl -u {UNIT}")
    if unit.status == Refused.exit_status:
        return Refused(f"The trader refused to start: {why}")
    return NotYet(f"The trader did not start: {why}")
