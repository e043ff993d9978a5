# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module on the controller in a child of this process, which has Ansible and boto3 loaded already.

A task of its own costs a new Python that unpacks the module, imports Ansible's utilities and boto3, and reads service
models: most of its second of CPU. A fork starts with all of that. The module runs as its own ``__main__`` with the
arguments it would get otherwise, and answers on standard output as ever.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ansible.module_utils import basic
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline
from ansible_collections.algo.trading.plugins.plugin_utils.call_guard import CallGuard, CallRefusedError

try:
    # In the parent, so that every child has it.
    import boto3  # noqa: F401  # pylint: disable=unused-import
    import botocore.loaders
    import botocore.session
except ImportError:
    pass  # the module itself says what is missing
else:
    # Each session would parse the model of each service anew. They are the same for all, and never changed.
    _LOADER = botocore.loaders.create_loader()
    botocore.session.create_loader = lambda search_path_string=None: (
        botocore.loaders.create_loader(search_path_string) if search_path_string else _LOADER
    )

# How plain values travel; tags of Ansible's own are not needed on the way to a module.
_PROFILE = "legacy"


def run(
    module: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    guard: CallGuard | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run a module by its fully qualified name.

    :param arguments: as for ``ActionBase._execute_module``, Ansible's own (``_ansible_…``) included.
    :param environment: variables that the module's process gets in addition.
    :param guard: keeps the module's calls to the resource that it is started for.
    :param meanwhile: called in this process once the module runs; it should end with the module. A thread would not do:
        the fork would have the locks that the thread holds, for ever.
    :return: what the module answered; ``failed`` with ``msg`` where it ended without an answer.
    """
    encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
    payload = json.dumps({"ANSIBLE_MODULE_ARGS": dict(arguments)}, cls=encoder).encode()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            lifeline.hold(parent)
            _be_module(module, payload, environment, output.fileno(), errors.fileno(), guard)
        if meanwhile is not None:
            meanwhile()
        _pid, status = os.waitpid(child, 0)
        output.seek(0)
        errors.seek(0)
        return _answer(output.read().decode(), errors.read().decode(), os.waitstatus_to_exitcode(status))


def _be_module(
    module: str,
    payload: bytes,
    environment: Mapping[str, str],
    output: int,
    errors: int,
    guard: CallGuard | None,
) -> NoReturn:
    """The child: never returns into the code that forked it, whatever happens."""
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        os.environ.update(environment)
        namespace, _dot, name = module.rpartition(".")
        qualified = f"ansible_collections.{namespace}.plugins.modules.{name}"
        basic._ANSIBLE_ARGS = payload
        basic._ANSIBLE_PROFILE = _PROFILE
        if guard is not None:
            guard.install()
        runpy.run_module(
            qualified,
            init_globals={"_module_fqn": qualified, "_modlib_path": None},
            run_name="__main__",
            alter_sys=True,
        )
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
