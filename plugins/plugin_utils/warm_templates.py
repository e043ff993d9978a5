# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compile each template once, in Ansible's main process if there is time, and not each time that it is rendered.

Ansible compiles a template for every rendering, in every worker. Of an unchanged run that was a fifth of the CPU time:
1,700 compilations of 460 templates. The compiled code depends on the text, the syntax, and on which filters want the
context, so it is shared by all workers, and that of the collection's own roles is kept for the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from ansible import constants as C
from ansible.release import __version__ as ansible_version
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.plugin_utils.kept import Kept

try:
    from ansible._internal._templating._jinja_bits import (
        _TEMPLATE_OVERRIDE_FIELD_NAMES,
        AnsibleEnvironment,
        _TemplateCompileContext,
    )
except ImportError:  # another version of Ansible: as before, only slower
    _shared = False
else:
    _shared = True

display = Display()

_Key = tuple[Any, ...]
_codes: dict[_Key, CodeType] = {}
# Those of the collection's roles, which use no filters but Ansible's and the collection's.
_of_roles: dict[_Key, CodeType] = {}
# Whether some of these are not kept yet.
_new = False
_FILTERS = Path(__file__).parents[1] / "filter"
# Enough for several versions of the roles.
_KEEP_AT_MOST = 3_000


def share() -> None:
    """From here on, in this process and those forked from it."""
    if not _shared or hasattr(AnsibleEnvironment.compile, "uncached"):
        return
    compile_anew = AnsibleEnvironment.compile

    def compile_once(self: Any, source: Any, name: Any = None, filename: Any = None, **keywords: Any) -> Any:
        if keywords or not isinstance(source, str):  # what has been parsed already
            return compile_anew(self, source, name, filename, **keywords)
        # A template that another includes has a name. The file is only for what goes wrong, and the same for a name.
        key = (str(source), name, _escapes(), *(getattr(self, field) for field in _TEMPLATE_OVERRIDE_FIELD_NAMES))
        code = _codes.get(key)
        if code is None:
            code = _codes[key] = compile_anew(self, source, name, filename)
        return code

    compile_once.uncached = compile_anew  # type: ignore[attr-defined]
    AnsibleEnvironment.compile = compile_once


def _escapes() -> bool:
    """The one thing besides the syntax that Ansible compiles differently: backslashes in strings."""
    context = _TemplateCompileContext.current(optional=True)
    return bool(context and context.escape_backslashes)


def recall() -> None:
    """Take over what earlier runs have compiled of the roles."""
    if _shared:
        _of_roles.update(_kept().load())
        _codes.update(_of_roles)


def keep() -> None:
    """Keep what this run has compiled of the roles, if there is something new."""
    if _new:
        _kept().save(_of_roles if len(_of_roles) <= _KEEP_AT_MOST else {})


def load(data: Any, *, of_role: bool = False) -> Iterator[None]:
    """Compile the templates in what a YAML file holds, one at each step."""
    for text in _templates(data):
        _load(text, escape_backslashes=True, of_role=of_role)
        yield


def load_files(folder: Path) -> Iterator[None]:
    """Compile a role's template files, one at each step. They include those of subfolders, by their place in here."""
    for path in sorted(folder.rglob("*.j2")):
        place = path.relative_to(folder)
        included = () if place == Path(path.name) else (str(place), str(path))
        _load(path.read_text(encoding="utf-8"), *included, escape_backslashes=False, of_role=True)
        yield


def _load(text: str, *included: str, escape_backslashes: bool, of_role: bool) -> None:
    global _new
    if not _shared:
        return
    before = len(_codes)
    with _TemplateCompileContext(escape_backslashes=escape_backslashes):
        try:
            AnsibleEnvironment().compile(text, *included)
        except Exception as error:  # the run tells, where it uses it
            display.vvv(f"A template was not compiled beforehand: {error}")
    if of_role and len(_codes) > before:
        key = next(reversed(_codes))
        _of_roles[key], _new = _codes[key], True


def _kept() -> Kept:
    filters = [path.read_text(encoding="utf-8") for path in sorted(_FILTERS.glob("*.py"))]
    extensions = str(getattr(C, "DEFAULT_JINJA2_EXTENSIONS", ()))
    return Kept("templates", ansible_version, jinja2.__version__, extensions, *filters)


def _templates(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        if "{{" in data or "{%" in data:
            yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _templates(value)
    elif isinstance(data, Sequence):
        for value in data:
            yield from _templates(value)
