# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compile a Python file of a collection once, and not in each process that imports or runs it.

Python keeps the bytecode of what it imports; Ansible's loader of collections does not, and compiles all anew: 160 files
in the main process of an unchanged run, and a module once more for each resource that it acts on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import CodeType
from typing import Any

from ansible.release import __version__ as ansible_version
from ansible_collections.algo.trading.plugins.plugin_utils.kept import Kept

try:
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionPkgLoaderBase as Loader
except ImportError:  # another version of Ansible: as before, only slower
    Loader = None

# By the file's name, with a digest of its text.
_codes: dict[str, tuple[bytes, CodeType]] = {}
_new = False


def share() -> None:
    """From here on, in this process and those forked from it."""
    if Loader is None or hasattr(Loader.get_code, "uncached"):
        return
    compile_anew = Loader.get_code
    _codes.update(_kept().load())

    def get_code(self: Any, fullname: str) -> CodeType | None:
        global _new
        if self._compiled_code:
            code: CodeType = self._compiled_code
            return code
        name, source = self.get_filename(fullname), self.get_source(fullname)
        if not name or not source:
            return compile_anew(self, fullname)  # type: ignore[no-any-return]
        digest = hashlib.blake2b(source if isinstance(source, bytes) else source.encode(), digest_size=16).digest()
        known = _codes.get(name)
        if known is None or known[0] != digest:
            known = _codes[name] = (digest, compile_anew(self, fullname))
            _new = True
        self._compiled_code = known[1]
        return known[1]

    get_code.uncached = compile_anew  # type: ignore[attr-defined]
    Loader.get_code = get_code


def keep() -> None:
    """Keep what this process has compiled for the next run, if there is something new and its file is still there."""
    if _new:
        _kept().save({name: code for name, code in _codes.items() if Path(name).is_file()})


def _kept() -> Kept:
    return Kept("bytecode", ansible_version)
