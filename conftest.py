"""Make `ansible_collections.algo.trading` importable and resolvable for plain pytest, from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

_COLLECTIONS = Path(__file__).parent / "collections"

sys.path.insert(0, str(_COLLECTIONS))
init_plugin_loader([str(_COLLECTIONS)])
