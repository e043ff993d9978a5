# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, which has the documentation, in a warm fork of the controller."""

from __future__ import annotations

from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction


class ActionModule(WarmAction):
    """Nothing but the module."""
