# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why something did not happen. The exit status tells the unit whether trying again can help."""

from __future__ import annotations


class HostError(Exception):
    """A reason for an operator, in words."""

    exit_status = 1
    result = "failed"


class Refused(HostError):
    """Trying again does not help: something must be corrected first."""

    exit_status = 78
    result = "refused"


class NotYet(HostError):
    """Trying again later may help."""

    exit_status = 75
    result = "waiting"
