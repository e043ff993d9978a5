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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.plugins.loader import filter_loader, test_loader
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.module_utils._environments import settings_files
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES
from ansible_collections.algo.trading.plugins.plugin_utils import warm_botocore, warm_templates

display = Display()

_READS_THE_ACCOUNT = "algo.trading.environment_info"
_ROLES = Path(__file__).parents[2] / "roles"
_MAIN = os.getpid()
_later: deque[Callable[[], None]] = deque()


def prepare() -> None:
    """Called in Ansible's main process before the first task."""
    for loader, name in ((filter_loader, "algo.trading.arn"), (filter_loader, "algo.trading.fleet_document")):
        loader.get(name)
    test_loader.get("ansible.builtin.match")
    warm_templates.share()
    # A run makes many objects that live until its end; looking through them again and again finds little.
    gc.set_threshold(100_000, 20, 20)
    # A worker's garbage collection would otherwise visit, and so copy, all that it shares with this process.
    os.register_at_fork(after_in_child=gc.freeze, after_in_parent=_use_the_wait)


def expect(play: Any) -> None:
    """Called before a play. Its first workers check settings and read the account; both take longer than these."""
    if not _later and any(task.action == _READS_THE_ACCOUNT for task in _tasks(play.tasks)):
        _later.extend([load_services, partial(_load_roles, play.get_loader())])


def load_services() -> None:
    """Load the models of all services that hold resources, which would take each worker tens of milliseconds each."""
    for service in sorted({kind.service for kind in TYPES.values()} - {""}):
        warm_botocore.load_service(service)


def _use_the_wait() -> None:
    if _later and os.getpid() == _MAIN:
        _later.popleft()()


def _load_roles(loader: DataLoader) -> None:
    """Parse the files of the roles that the next plays include, and compile their templates."""
    settings = [
        path for inventory in context.CLIARGS.get("inventory") or () for path in settings_files(Path(inventory))
    ]
    parsed = []
    for path in [*settings, *sorted(_ROLES.glob("aws_*/*/main.yml"))]:
        try:
            data = loader.load_from_file(str(path), unsafe=True, trusted_as_template=True)
        except Exception as error:  # the run tells where it needs the file
            display.vvv(f"{path} was not loaded beforehand: {error}")
            continue
        parsed.append(data)
    for data in parsed:
        for _step in warm_templates.load(data):
            if _worker_ended():
                return


def _worker_ended() -> bool:
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tasks(entries: Iterable[Any]) -> Iterator[Any]:
    for entry in entries:
        if isinstance(entry, Block):
            yield from _tasks(entry.block)
        else:
            yield entry
