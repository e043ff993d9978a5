# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load once, in Ansible's main process, what its workers and its later plays would each load for themselves.

Every task runs in a worker of its own, a fork. Filters and tests are loaded when a template first uses one, so without
this by nearly every worker anew. What takes longer is loaded while the main process would only wait for a worker.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.module_utils._environments import settings_files
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES
from ansible_collections.algo.trading.plugins.plugin_utils import arguments, warm_copies, warm_imports, warm_templates

display = Display()

_READS_THE_ACCOUNT = "algo.trading.environment_info"
# Modules that every run starts after the account is read.
_MODULES = ("algo.trading.environment_lock", "algo.trading.lambda_package", "algo.trading.model_fleet")
_LOOKUPS = (
    "algo.trading.inventory_vars",
    "algo.trading.s3_models",
    "ansible.builtin.file",
    "ansible.builtin.template",
    "ansible.builtin.vars",
)
# Of roles: what every run includes.
_FILES = (
    "aws_*/*/main.yml",
    "aws_*/vars/main/*.yml",
    *(f"aws_*/tasks/{name}.yml" for name in ("package", "fleet", "verify")),
)
_WARM_BOTOCORE = "ansible_collections.algo.trading.plugins.plugin_utils.warm_botocore"
_ROLES = Path(__file__).parents[2] / "roles"
_MAIN = os.getpid()
_steps: Iterator[None] = iter(())


def prepare() -> None:
    """Called in Ansible's main process before the first task."""
    filter_loader.get("algo.trading.arn")
    test_loader.get("ansible.builtin.match")
    warm_imports.share()
    warm_templates.share()
    warm_copies.share()
    # A run makes many objects that live until its end; looking through them again and again finds little.
    gc.set_threshold(100_000, 20, 20)
    # A worker's garbage collection would otherwise visit, and so copy, all that it shares with this process.
    os.register_at_fork(after_in_child=gc.freeze, after_in_parent=_use_the_wait)


def finish() -> None:
    """Called after the last task. Python would look through all objects several times more before it ends."""
    gc.freeze()
    warm_imports.keep()
    warm_templates.keep()
    if botocore := sys.modules.get(_WARM_BOTOCORE):
        botocore.keep_models()


def expect(play: Any) -> None:
    """Called before a play. In the one that reads the account, the main process waits for worker after worker."""
    global _steps
    reads = any(task.action == _READS_THE_ACCOUNT for task in _tasks(play.tasks))
    _steps = _preparations(play.get_loader()) if reads else iter(())


def load_services() -> None:
    """Load the models of all services that hold resources, which would take each worker tens of milliseconds each."""
    for _step in _services():
        pass


def _use_the_wait() -> None:
    if os.getpid() == _MAIN:
        for _step in _steps:
            if _worker_ended():
                return


def _preparations(loader: DataLoader) -> Iterator[None]:
    """What the tasks to come need, in their order. Each step is short."""
    yield from _services()
    yield from _modules()
    for lookup in _LOOKUPS:
        lookup_loader.get(lookup, class_only=True)
        yield
    yield from _roles(loader)


def _services() -> Iterator[None]:
    # Not before the first worker has started: boto3 alone takes longer to import than that worker needs to begin.
    from ansible_collections.algo.trading.plugins.plugin_utils import warm_module

    for service in sorted({kind.service for kind in TYPES.values()} - {""}):
        warm_module.load(_READS_THE_ACCOUNT, service)
        yield


def _modules() -> Iterator[None]:
    """The modules that every run starts, and the arguments of those that act on resources."""
    from ansible_collections.algo.trading.plugins.plugin_utils import warm_module

    for module in _MODULES:
        warm_module.load(module)
        yield
    filter_loader.get("algo.trading.fleet_document")
    for kind in TYPES.values():
        arguments.load(kind.module)
        yield


def _roles(loader: DataLoader) -> Iterator[None]:
    """The files of the roles of the next plays, and their templates, compiled."""
    settings = {
        path for inventory in context.CLIARGS.get("inventory") or () for path in settings_files(Path(inventory))
    }
    warm_templates.recall()
    yield
    parsed = []
    for path in [*sorted(settings), *(path for files in _FILES for path in sorted(_ROLES.glob(files)))]:
        try:
            data = loader.load_from_file(str(path), unsafe=True, trusted_as_template=True)
            parsed.append((data, path not in settings))
        except Exception as error:  # the run tells where it needs the file
            display.vvv(f"{path} was not loaded beforehand: {error}")
        yield
    for folder in sorted(_ROLES.glob("aws_*/templates")):
        yield from warm_templates.load_files(folder)
    for data, of_role in parsed:
        yield from warm_templates.load(data, of_role=of_role)


def _worker_ended() -> bool:
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tasks(entries: Iterable[Any]) -> Iterator[Any]:
    for entry in entries:
        if isinstance(entry, Block):
            yield from _tasks(entry.block)
        else:
            yield entry
