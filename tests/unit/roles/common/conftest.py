"""The program is no package of the collection: hosts have it in a folder of its own, and so do these tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4] / "roles" / "common" / "files"))
