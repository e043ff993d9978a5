# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let what a run has started end with it.

Ansible's workers lead sessions of their own, so a killed ansible-playbook leaves them working for a while, and the next
run, which finds the dead one's lock and takes it over, would change resources at the same time.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def hold(parent: int | None = None) -> None:
    """Die with the parent from here on; at once, if it has died already.

    :param parent: its process id; by default, what multiprocessing knows. Outside Linux only the second half works.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    known = multiprocessing.parent_process()
    dead = os.getppid() != parent if parent is not None else known is not None and not known.is_alive()
    if dead:
        os._exit(1)
