# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let all sessions and clients of this process, and of those forked from it, share what is the same for each of them.

A module makes a session and a client, which takes longer than its calls. Nearly all of that is reading the models of
AWS's services, and working out the same facts about the same hundred event handlers.
"""

from __future__ import annotations

from functools import lru_cache
from types import FunctionType
from typing import Any

from ansible.utils.display import Display

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
    # Models are read into dictionaries, which keep their order as well and are made faster.
    loaders: Any = botocore.loaders
    loaders.OrderedDict = dict
    hooks.accepts_kwargs = _accepts_kwargs


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
