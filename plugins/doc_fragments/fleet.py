# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of ``algo.trading.model_fleet``, made from the one specification of a fleet."""

from __future__ import annotations

import json

from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import documentation
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import MODULE


class ModuleDocFragment:
    # JSON is YAML. Without the annotation, ansible-test's yamllint takes the value for a literal string and ends.
    DOCUMENTATION: str = json.dumps({"options": documentation(MODULE)})
