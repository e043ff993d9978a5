# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server needs whose upstream is the stand-in: its settings, the broker's keys and the clients' tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SETTINGS = """\
[store]
directory = "{work}/store"
segment_seconds = 30
min_free_bytes = 1_000_000

[upstream]
url = "{stream}"
credentials_file = "{work}/keys.json"
calendar = "24/7"
subscribe = {{ bars = ["*"] }}

[upstream.backfill]
url = "{rest}"
settle_seconds = 1

[downstream]
port = 0
tokens_file = "{work}/tokens.toml"

[observe]
port = 0
"""


def write(work: Path, standin: Mapping[str, Any], tokens: Iterable[str]) -> Path:
    """Writes it all into a directory; returns the settings file.

    :param standin: the first line that the stand-in prints
    :param tokens: tables, as `downstream.auth.make` returns them
    """
    private(work / "keys.json", json.dumps({"key_id": standin["key"], "secret_key": standin["secret"]}))
    private(work / "tokens.toml", "\n".join(tokens))
    settings = work / "settings.toml"
    settings.write_text(_SETTINGS.format(work=work, stream=standin["stream"], rest=standin["rest"]))
    return settings


def private(path: Path, text: str) -> None:
    """A file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_text(text)
