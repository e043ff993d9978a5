# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's document: every lasting option with its value, in the SSM parameter from which the function takes it.

The play gives the same dictionary to ``algo.trading.model_fleet``, so both decide by the same settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models import literal_prefix
from ._complete import complete
from ._settings_reader import problems_of
from .errors import SettingsError
from .settings import FleetSettings
from .spec import LASTING

# Number of the document's form. Documents of another one are refused, never interpreted.
SCHEMA = 2
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
MAX_BYTES = 8192
_REMEDY = "Run playbooks/trading_server.yml from the checkout that the function was deployed from"


@dataclass(frozen=True)
class Difference:
    """A difference between function and module for the same document."""

    option: str
    module: str
    function: str
    why: str


# All of them; everything else is decided alike. Tests read this list.
DIFFERENCES = (
    Difference("power", "keep", "running", "the function opens the trading day, when stopped servers are to start"),
)


def fleet_document(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options checked and completed: the document without its schema number."""
    problems: list[str] = []
    document = complete(LASTING, options, problems)
    if not problems:
        problems = problems_of(document)
    prefix = literal_prefix(document["source"]["pattern"]) if not problems else ""
    if prefix:
        document["source"].setdefault("prefix", prefix)
    if problems:
        raise SettingsError("The fleet's settings are not valid: " + "; ".join(problems) + ".")
    return document


def dump_document(document: Mapping[str, Any]) -> str:
    """The document as the parameter holds it."""
    text = json.dumps({"schema": SCHEMA, "fleet": document}, sort_keys=True)
    if len(text.encode()) > MAX_BYTES:
        raise SettingsError(
            f"The fleet's settings take {len(text.encode())} bytes; an SSM parameter holds {MAX_BYTES}. "
            "Shorten user_data, configuration or overrides. Put larger parts in S3 or SSM and pass their address."
        )
    return text


def load_document(text: str) -> dict[str, Any]:
    """The document of a parameter. One that this version would not have written is refused."""
    try:
        stored: Any = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"It is not JSON: {error}. {_REMEDY}.") from error
    if not isinstance(stored, dict):
        raise SettingsError(f"It is not a dictionary. {_REMEDY}.")
    schema = stored.get("schema", 1)
    if schema != SCHEMA:
        older = isinstance(schema, int) and schema < SCHEMA
        raise SettingsError(
            f"It has schema {schema!r} and this version reads schema {SCHEMA}: "
            f"{'an older' if older else 'another'} version wrote it. {_REMEDY}."
        )
    document = stored.get("fleet")
    if not isinstance(document, dict) or fleet_document(document) != document:
        missing = sorted(complete(LASTING, document, []).keys() - document.keys()) if isinstance(document, dict) else []
        what = f" It has no {', '.join(missing)}." if missing else ""
        raise SettingsError(f"Another version wrote it.{what} {_REMEDY}.")
    return document


def function_settings(document: Mapping[str, Any]) -> FleetSettings:
    """The settings of the function ``trading_server``: the document's, with the differences applied."""
    changed = {
        difference.option: difference.function
        for difference in DIFFERENCES
        if document.get(difference.option) == difference.module
    }
    return FleetSettings.from_dict({**document, **changed})
