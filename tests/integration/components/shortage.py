"""An AWS that is short of some instance types: passes everything on to the embedded one, but for their launches."""

from __future__ import annotations

from .proxy import Form, Proxy

# A shortage that amazon.aws reports at once; it waits minutes before it reports InsufficientInstanceCapacity.
CODE = "VcpuLimitExceeded"
_ANSWER = (
    f"<Response><Errors><Error><Code>{CODE}</Code><Message>No more of these.</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)


class Shortage(Proxy):
    def __init__(self, upstream: str) -> None:
        self._refused = set[str]()
        super().__init__(upstream, answer=self._refuse)

    def refuse(self, *instance_types: str) -> None:
        self._refused.clear()
        self._refused.update(instance_types)

    def _refuse(self, form: Form) -> bytes | None:
        launched = form.get("Action") == ["RunInstances"] and form["InstanceType"][0] in self._refused
        return _ANSWER.encode() if launched else None

    def __enter__(self) -> Shortage:
        super().__enter__()
        return self
