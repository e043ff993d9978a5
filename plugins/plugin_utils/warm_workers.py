# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load once, before Ansible forks its workers, what each of them would load for itself.

Every task runs in a worker of its own. Filters and tests are loaded when a template first uses one, so without this
by nearly every worker anew.
"""

from __future__ import annotations

import gc
import os

from ansible.plugins.loader import filter_loader, test_loader


def prepare() -> None:
    """Called in Ansible's main process before the first task."""
    for loader, name in ((filter_loader, "algo.trading.arn"), (filter_loader, "algo.trading.fleet_document")):
        loader.get(name)
    test_loader.get("ansible.builtin.match")
    # A worker's garbage collection would otherwise visit, and so copy, all that it shares with this process.
    os.register_at_fork(after_in_child=gc.freeze)
