# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let all sessions and clients of this process, and of those forked from it, share what is the same for each of them.

A module makes a session and a client, which takes longer than its calls. Nearly all of that is reading the models of
AWS's services, and working out the same facts about the same hundred event handlers.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.plugin_utils.kept import Kept

try:
    import boto3
    import botocore.hooks
    import botocore.loaders
    import botocore.session
    from botocore.compat import accepts_kwargs
except ImportError:
    _installed = False  # the module itself says what is missing
else:
    _installed = True

display = Display()

_names: dict[str, str] = {}
# Read from here they take a quarter of the time that their JSON takes.
_models: dict[str, Any] = {}
_new_models = False


def keep_models() -> None:
    """Keep the models that this process has loaded for the next run, if there are new ones."""
    global _new_models
    if _new_models:
        _kept_models().save(_models)
        _new_models = False


def _share() -> None:
    """From here on. What is shared is never changed."""
    loader, create_loader = botocore.loaders.create_loader(), botocore.loaders.create_loader
    botocore.session.create_loader = lambda search_path_string=None: (
        create_loader(search_path_string) if search_path_string else loader
    )
    hooks: Any = botocore.hooks
    make = hooks.EventAliaser.__init__

    def init(self: Any, event_emitter: Any, event_aliases: Any = None) -> None:
        make(self, event_emitter, event_aliases)
        if self._event_aliases == hooks.EVENT_ALIASES:
            self._alias_name_cache = _names

    hooks.EventAliaser.__init__ = init
    loaders: Any = botocore.loaders
    # Models are read into dictionaries, which keep their order as well and are made faster.
    loaders.OrderedDict = dict
    folder = str(Path(botocore.__file__).parent / "data")
    read = loaders.JSONFileLoader.load_file

    def load_file(self: Any, file_path: str) -> Any:
        return _model(self, file_path, read) if file_path.startswith(folder) else read(self, file_path)

    loaders.JSONFileLoader.load_file = load_file
    hooks.accepts_kwargs = _accepts_kwargs


def _model(loader: Any, path: str, read: Any) -> Any:
    """A model without what it says to people, which is most of it."""
    global _new_models
    if not _models:
        _models.update(_kept_models().load())
    if path not in _models:
        data = read(loader, path)
        if data is None:
            return None
        _models[path], _new_models = _without_documentation(data), True
    return _models[path]


def _without_documentation(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            sys.intern(name): "" if name == "documentation" and isinstance(item, str) else _without_documentation(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_without_documentation(item) for item in value]
    # Equal strings once: that makes them fast to read.
    return sys.intern(value) if isinstance(value, str) else value


def _kept_models() -> Kept:
    return Kept("service-models", botocore.__version__, botocore.__file__)


def _accepts_kwargs(handler: Any) -> Any:
    function = getattr(handler, "__func__", handler)
    return _function_accepts_kwargs(function) if isinstance(function, FunctionType) else accepts_kwargs(handler)


@lru_cache
def _function_accepts_kwargs(function: FunctionType) -> Any:
    return accepts_kwargs(function)


@lru_cache
def load_service(service: str) -> None:
    """Load what the clients of an AWS service need: its models, the rules of its endpoints, imports."""
    try:
        # It calls nobody.
        nobody = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        client = _session().client(service, region_name="us-east-1", **nobody)
        # These look for a file, whatever the answer.
        client.can_paginate(next(iter(client.meta.method_to_api_mapping)))
        list(client.waiter_names)
    except Exception as error:
        display.vvv(f"{service} was not loaded beforehand: {error}")


@lru_cache
def _session() -> Any:  # with type stubs, `client` would accept literal names only
    return boto3.session.Session()


if _installed:
    _share()
