# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of ``algo.trading.model_fleet``, made from the one specification of a fleet."""

from __future__ import annotations

import json

from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import documentation
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import MODULE


class ModuleDocFragment:
    # JSON is YAML. The annotation matters: ansible-test's yamllint takes every bare assignment here for a literal string.
    DOCUMENTATION: str = json.dumps({"options": documentation(MODULE)})
