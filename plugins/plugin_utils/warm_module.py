# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module on the controller in a process that has Ansible and boto3 loaded already.

A task of its own costs a new Python that unpacks the module, imports Ansible's utilities and boto3, and reads service
models: most of its second of CPU. Here the module runs as its own ``__main__`` with the arguments it would get
otherwise, and answers on standard output as ever: in this process, which is a task's worker and ends with the task, or
in a child, where several run at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn

from ansible.module_utils import basic
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline, warm_botocore
from ansible_collections.algo.trading.plugins.plugin_utils.call_guard import CallGuard, CallRefusedError
from ansible_collections.algo.trading.plugins.plugin_utils.read_once import ReadOnce

display = Display()

# How plain values travel; tags of Ansible's own are not needed on the way to a module.
_PROFILE = "legacy"


@dataclass(frozen=True)
class Call:
    """A module by its fully qualified name, and how it is run.

    :param arguments: as for ``ActionBase._execute_module``, Ansible's own (``_ansible_…``) included.
    :param environment: variables that the module's process gets in addition.
    :param guard: keeps the module's calls to the resource that it is started for.
    :param read_once: answers a repeated question of the module from the first answer; for modules of one thread.
    :param absent: with ``read_once``, what AWS would answer to the module's first questions, as a resource type has it.
    """

    module: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    guard: CallGuard | None = None
    read_once: bool = False
    absent: Mapping[str, Any] = field(default_factory=dict)


class Running:
    """A module that runs in a child of this process."""

    def __init__(self, child: int, ended: int, output: IO[bytes], errors: IO[bytes]) -> None:
        self._child, self._ended, self._output, self._errors = child, ended, output, errors

    def fileno(self) -> int:
        """The end of a pipe that becomes readable when the child is gone, whatever it died of."""
        return self._ended

    def finish(self) -> dict[str, Any]:
        """What the module answered; ``failed`` with ``msg`` where it ended without an answer. Waits for its end."""
        _pid, status = os.waitpid(self._child, 0)
        os.close(self._ended)
        with self._output, self._errors:
            self._output.seek(0)
            self._errors.seek(0)
            code = os.waitstatus_to_exitcode(status)
            return _answer(self._output.read().decode(), self._errors.read().decode(), code)


def start(call: Call) -> Running:
    """Start a module in a child of this process. Several can run at a time."""
    payload = _payload(call)
    once = ReadOnce(call.absent) if call.read_once else None
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish`
    ended, alive = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        lifeline.hold(parent)
        _be_module(call, payload, once, output.fileno(), errors.fileno())
    # Only the child has this end now, so that the other tells of its death.
    os.close(alive)
    return Running(child, ended, output, errors)


def run(call: Call, meanwhile: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run a module and wait for its answer.

    :param meanwhile: called in this process once the module runs in a child; it should end with the module. A thread
        would not do: the fork would have the locks that the thread holds, for ever. Without it there is no child.
    """
    if meanwhile is None:
        return _run_here(call)
    running = start(call)
    meanwhile()
    return running.finish()


def load(module: str, service: str = "") -> None:
    """Load here, once, what every child would load for itself.

    :param module: its imports; the module itself is run by the child.
    :param service: the model of an AWS service.
    """
    try:
        importlib.import_module(_qualified(module))
    except Exception as error:  # the child tells what is missing, in the module's own words
        display.vvv(f"{module} was not loaded beforehand: {error}")
    if service:
        warm_botocore.load_service(service)


def _qualified(module: str) -> str:
    namespace, _dot, name = module.rpartition(".")
    return f"ansible_collections.{namespace}.plugins.modules.{name}"


def _payload(call: Call) -> bytes:
    encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
    return json.dumps({"ANSIBLE_MODULE_ARGS": dict(call.arguments)}, cls=encoder).encode()


def _run_here(call: Call) -> dict[str, Any]:
    output, errors, code = io.StringIO(), "", 1
    payload, before = _payload(call), (dict(os.environ), basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE)
    try:
        with contextlib.redirect_stdout(output):
            _run_as_main(call, payload)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except Exception:
        errors = traceback.format_exc()
    finally:
        environment, basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = before
        os.environ.clear()
        os.environ.update(environment)
    return _answer(output.getvalue(), errors, code)


def _run_as_main(call: Call, payload: bytes) -> None:
    """What Ansible's own wrapper does around a module. A module ends with ``SystemExit``."""
    os.environ.update(call.environment)
    qualified = _qualified(call.module)
    basic._ANSIBLE_ARGS = payload
    basic._ANSIBLE_PROFILE = _PROFILE
    # The parent has imported the module for the sake of its imports and its code; that it runs again is meant.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    runpy.run_module(
        qualified,
        init_globals={"_module_fqn": qualified, "_modlib_path": None},
        run_name="__main__",
        alter_sys=True,
    )


def _be_module(call: Call, payload: bytes, once: ReadOnce | None, output: int, errors: int) -> NoReturn:
    """The child: never returns into the code that forked it, whatever happens."""
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        if call.guard is not None:
            call.guard.install()
        if once is not None:
            once.install()
        _run_as_main(call, payload)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except CallRefusedError as refusal:
        print(json.dumps({"failed": True, "msg": str(refusal)}))
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _answer(output: str, errors: str, code: int) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            result: dict[str, Any] = json.loads(line)
            result.pop("invocation", None)
            return result
    lines = errors.strip().splitlines()
    return {"failed": True, "msg": lines[-1] if lines else f"the module exited with code {code} and no result"}
