# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may connect, and what for.

The tokens file is TOML with a table for each client; the secret itself is not in it, only its SHA-256:

    [[client]]
    name = "momentum-AAPL"
    key = "…"
    secret_sha256 = "…"      # `alpaca-websocket token NAME` makes all three
    connections = 1          # at once; more are answered 406
    symbols = 0              # distinct ones of a connection, more are answered 405; 0: `max_symbols`, and `*` as well
    channels = ["trades"]    # others are answered 409; left out: all market data, but not the account's own orders
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Annotated

import msgspec

from ..protocol import KINDS, TRADE_UPDATES


class TokensError(Exception):
    """The tokens file cannot be read."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One client's rights."""

    name: str
    key: str
    secret_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    connections: Annotated[int, msgspec.Meta(ge=1)] = 1
    symbols: Annotated[int, msgspec.Meta(ge=0)] = 0
    channels: tuple[str, ...] = tuple(name for name in KINDS if name != TRADE_UPDATES)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    client: list[Token]


_NOBODY = "0" * 64


class Tokens:
    """Checks keys and secrets. Without a file everybody is let in, without limits."""

    def __init__(self, path: str) -> None:
        """Raises TokensError."""
        self._path = path
        self._by_key: dict[str, Token] = {}
        self.reload()

    def reload(self) -> None:
        """Reads the file again; connections that are open stay. Raises TokensError and keeps what it had."""
        if not self._path:
            return
        try:
            listed = msgspec.toml.decode(Path(self._path).read_bytes(), type=_File).client
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TokensError(f"{self._path}: {error}") from error
        by_key = {token.key: token for token in listed}
        if len(by_key) != len(listed):
            raise TokensError(f"{self._path}: two clients have the same key")
        for token in listed:
            if wrong := sorted(set(token.channels) - KINDS.keys()):
                raise TokensError(f"{self._path}: {token.name} names no channel: {', '.join(wrong)}")
        self._by_key = by_key

    def check(self, key: str, secret: str) -> Token | None:
        """The token of this key, if the secret is its own. Takes the same time for a key that does not exist."""
        if not self._path:
            name = key[:64] or "anybody"
            return Token(name=name, key=key, secret_sha256=_NOBODY, connections=1_000_000, channels=tuple(KINDS))
        token = self._by_key.get(key)
        given = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        same = hmac.compare_digest(given, token.secret_sha256 if token else _NOBODY)
        return token if token is not None and same else None


def make(name: str) -> tuple[str, str]:
    """A new token: what to give to the client, and the table for the file."""
    key, secret = f"AW{secrets.token_hex(9).upper()}", secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    table = f'[[client]]\nname = {msgspec.json.encode(name).decode()}\nkey = "{key}"\nsecret_sha256 = "{digest}"\n'
    return f"key {key}\nsecret {secret}\n", table
