# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why something did not happen."""

from __future__ import annotations


class HostError(Exception):
    """A reason for an operator, in words."""

    def __init__(self, reason: str, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


# Something must be corrected first; units are not started again for it.
REFUSED = 78
# A checkpoint is not in the bucket, although the job itself succeeded.
NOT_STORED = 74
# The same may succeed later.
BUSY = 75
# What `verify` ends with on a host without a GPU whose other results are as expected.
NO_GPU = 3
# Its services, its timer and its jobs are systemd's units.
NO_SYSTEMD = "systemd does not run on this host"
