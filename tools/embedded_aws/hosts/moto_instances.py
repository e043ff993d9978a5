"""Makes moto's instances act on hosts: its methods are replaced for the life of the process, all of them here.

moto's own instances are `running` and healthy at once and for ever, and images of them are `available`.
"""

from __future__ import annotations

import copy
from typing import Any

from .instances import Instances


def patch(instances: Instances) -> None:
    """Connect moto to the hosts; once, before the server answers."""
    from moto.ec2.models.amis import AmiBackend
    from moto.ec2.models.instances import Instance, InstanceBackend

    _launches(InstanceBackend, instances)
    _transitions(Instance, instances)
    _shown(Instance, instances)
    _images(AmiBackend, instances)


def _launches(backend: Any, instances: Instances) -> None:
    original = backend.run_instances

    def run_instances(self: Any, *given: Any, **options: Any) -> Any:
        reservation = original(self, *given, **options)
        for instance in reservation.instances:
            instances.launch(instance, self.region_name, self.get_vpc(instance.vpc_id).cidr_block)
        return reservation

    backend.run_instances = run_instances


def _transitions(instance: Any, instances: Instances) -> None:
    start, stop, terminate = instance.start, instance.stop, instance.terminate

    def started(self: Any) -> Any:
        host, before = instances.get(self.id), copy.copy(self._state)
        if host is None:
            return start(self) if before.name != "terminated" else _refuse(self, "started")
        if before.name not in ("stopped", "pending", "running"):
            return _refuse(self, "started")
        if before.name == "stopped":
            start(self)
            instances.start(host)
        return before

    def stopped(self: Any) -> Any:
        host, before = instances.get(self.id), copy.copy(self._state)
        if host is None:
            return stop(self) if before.name != "terminated" else _refuse(self, "stopped")
        if before.name in ("terminated", "shutting-down"):
            return _refuse(self, "stopped")
        if before.name in ("pending", "running"):
            stop(self)
            instances.stop(host)
        return before

    def terminated(self: Any) -> Any:
        host, before = instances.get(self.id), copy.copy(self._state)
        if before.name in ("terminated", "shutting-down"):
            return before
        terminate(self)
        if host is not None:
            instances.terminate(host)
        return before

    def rebooted(self: Any) -> None:
        host = instances.get(self.id)
        if self._state.name not in ("pending", "running"):
            _refuse(self, "rebooted")
        if host is not None:
            instances.reboot(host)

    instance.start, instance.stop, instance.terminate, instance.reboot = started, stopped, terminated, rebooted
    # What the hosts do by themselves changes the record only.
    instance.stop_record, instance.terminate_record = stop, terminate


def _refuse(instance: Any, what: str) -> Any:
    from moto.ec2.exceptions import EC2ClientError

    state = instance._state.name
    message = f"The instance '{instance.id}' is not in a state from which it can be {what}: it is {state}."
    raise EC2ClientError("IncorrectInstanceState", message)


def _shown(instance: Any, instances: Instances) -> None:
    def status(self: Any) -> dict[str, Any]:
        host = instances.get(self.id)
        if self.state_code != 16 or host is None:
            return {"Status": "not-applicable"}
        passed = {"initializing": "initializing", "ok": "passed"}.get(host.status, "failed")
        return {"Details": [{"Name": "reachability", "Status": passed}], "Status": host.status}

    instance.instance_status = property(status)

    from moto.core.responses import ActionResult
    from moto.core.types import Base64EncodedString
    from moto.core.utils import utcnow
    from moto.ec2.responses.general import General

    def get_console_output(self: Any) -> Any:
        found = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        text = Base64EncodedString.from_raw_string(instances.console(found.id)[-65_536:])
        return ActionResult({"InstanceId": found.id, "Timestamp": utcnow(), "Output": text})

    General.get_console_output = get_console_output  # type: ignore[method-assign]


def _images(backend: Any, instances: Instances) -> None:
    create, deregister = backend.create_image, backend.deregister_image

    def create_image(self: Any, instance_id: str, *given: Any, **options: Any) -> Any:
        image = create(self, instance_id, *given, **options)
        host = instances.get(instance_id)
        if host is not None:
            instances.image(host, image)
        return image

    def deregister_image(self: Any, ami_id: str) -> None:
        deregister(self, ami_id)
        instances.drop_image(ami_id)

    backend.create_image, backend.deregister_image = create_image, deregister_image
