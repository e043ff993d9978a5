# SPDX-License-Identifier: GPL-3.0-or-later
"""The one settings file, TOML, as a frozen tree. A field that nobody knows is an error, as is a value out of range.

Secrets are not in it: it names files, or a secret of AWS Secrets Manager, and they are read when they are needed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .protocol import KINDS
from .store.settings import StoreSettings

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class SettingsError(Exception):
    """The file cannot be read, or says something that cannot be."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Silence(_Part, frozen=True):
    """How long a channel may say nothing while the exchange is open, in seconds; channels left out are not judged."""

    trades: Seconds | None = 60
    quotes: Seconds | None = 60
    bars: Seconds | None = 150
    updatedBars: Seconds | None = None
    dailyBars: Seconds | None = 300
    statuses: Seconds | None = None
    lulds: Seconds | None = None
    corrections: Seconds | None = None
    cancelErrors: Seconds | None = None

    def limits(self) -> dict[str, float]:
        """Channel → seconds."""
        return {name: limit for name in KINDS if (limit := getattr(self, name)) is not None}


class Backfill(_Part, frozen=True):
    """What is fetched after a gap, and where."""

    source: Literal["rest", "replay", "none"] = "rest"
    """`rest`: Alpaca's market-data API. `replay`: the upstream is a server like this one, which is asked."""
    url: str = "https://data.alpaca.markets"
    feed: str = "iex"
    settle_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5
    """How long after the feed is back the fetch begins, so that the last bar has been published."""
    longest_seconds: Seconds = 86400
    """A gap that began earlier than this is filled from then on only."""
    max_symbols: Count = 5000
    """Of a subscription to `*`, the symbols seen most are fetched."""
    attempts: Annotated[int, msgspec.Meta(ge=1)] = 8


class Upstream(_Part, frozen=True):
    url: str = "wss://stream.data.alpaca.markets/v2/iex"
    credentials_file: str = ""
    """JSON: {"key_id": …, "secret_key": …}. A relative path: in $CREDENTIALS_DIRECTORY, or else beside the settings."""
    credentials_secret: str = ""
    """Instead of a file: name or ARN of a secret in AWS Secrets Manager with the same content."""
    format: Literal["json", "msgpack"] = "json"
    compression: bool = True
    ca_file: str = ""
    """Certificates to trust instead of the system's, for an upstream of our own."""
    subscribe: dict[str, list[str]] = {}
    """Channel → symbols that are always subscribed, whether a client asks or not; `*` is all of them."""
    calendar: str = "XNYS"
    """The exchange's name in exchange_calendars; `24/7` for the test feed."""
    silence: Silence = Silence()
    connect_timeout: Seconds = 10
    reply_timeout: Seconds = 10
    ping_seconds: Seconds = 10
    backoff_seconds: Seconds = 1
    backoff_max_seconds: Seconds = 60
    half_open_seconds: Seconds = 95
    """After 406. Alpaca holds the place of a half-dead connection for about 90 s."""
    stable_seconds: Seconds = 60
    """A connection that lasted this long starts the back-off anew."""
    linger_seconds: Annotated[float, msgspec.Meta(ge=0)] = 30
    """What no client asks for any more stays subscribed for this long: one that reconnects misses nothing."""
    backfill: Backfill = Backfill()


class Downstream(_Part, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8765
    tokens_file: str = ""
    """Who may connect, see downstream/auth.py. Empty: anybody, and then only on a loopback address."""
    tls_certificate: str = ""
    tls_key: str = ""
    auth_timeout: Seconds = 10
    compression: bool = True
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 1000
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 2**20
    buffer_bytes: Annotated[int, msgspec.Meta(ge=65536)] = 4 * 2**20
    """What may wait for one client before it is told 407."""
    slow_grace_seconds: Seconds = 5
    """From 407 until it is cut."""
    ping_seconds: Seconds = 60
    """Who says nothing for this long is pinged, and is gone after as long again: a client may be busy for a while."""
    deliver_backfilled: bool = True


class Observe(_Part, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8766
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Lease(_Part, frozen=True):
    """Which of several instances owns the connection. One host is guarded by a lock in the store's directory anyway."""

    bucket: str = ""
    """Empty: no other host competes."""
    key: str = "alpaca-websocket/lease.json"
    region: str = ""
    endpoint_url: str = ""
    seconds: Seconds = 30
    """An owner that has not renewed for this long has lost it; it renews three times as often."""


class Settings(_Part, frozen=True):
    store: StoreSettings
    upstream: Upstream = Upstream()
    downstream: Downstream = Downstream()
    observe: Observe = Observe()
    lease: Lease = Lease()


def load(path: Path) -> Settings:
    """Reads and checks the file. Raises SettingsError, which names the field."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if problems := list(_problems(settings)):
        raise SettingsError(f"{path}: {'; '.join(problems)}")
    file = settings.upstream.credentials_file
    if file and "CREDENTIALS_DIRECTORY" not in os.environ:  # a person's hand, not the unit
        upstream = msgspec.structs.replace(settings.upstream, credentials_file=str(path.absolute().parent / file))
        settings = msgspec.structs.replace(settings, upstream=upstream)
    return settings


def _problems(settings: Settings) -> list[str]:
    up, down = settings.upstream, settings.downstream
    found = []
    if not up.url.startswith(("ws://", "wss://")):
        found.append(f"upstream.url is no WebSocket address: {up.url}")
    if bool(up.credentials_file) == bool(up.credentials_secret):
        found.append("name one of upstream.credentials_file and upstream.credentials_secret")
    if wrong := sorted(up.subscribe.keys() - KINDS.keys()):
        found.append(f"upstream.subscribe names no channel: {', '.join(wrong)} (there are {', '.join(KINDS)})")
    if up.backoff_seconds > up.backoff_max_seconds:
        found.append("upstream.backoff_seconds exceeds backoff_max_seconds")
    if not down.tokens_file and not _loopback(down.host):
        found.append(f"downstream.tokens_file is needed to listen on {down.host or 'all addresses'}")
    if bool(down.tls_certificate) != bool(down.tls_key):
        found.append("downstream.tls_certificate and tls_key go together")
    return found


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Credentials(msgspec.Struct, frozen=True):
    key_id: str
    secret_key: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def credentials(upstream: Upstream, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Reads the broker's keys; asks Secrets Manager where the settings say so. Raises SettingsError."""
    try:
        if upstream.credentials_secret:
            text = _secret(upstream.credentials_secret)
        else:
            directory = environment.get("CREDENTIALS_DIRECTORY", "")
            text = Path(directory, upstream.credentials_file).read_bytes()
        found = msgspec.json.decode(text, type=Credentials)
    except (OSError, msgspec.MsgspecError) as error:
        # The error's text could quote the content.
        kind = type(error).__name__ if isinstance(error, msgspec.MsgspecError) else str(error)
        raise SettingsError(f"the credentials of upstream cannot be read: {kind}") from None
    if not found.key_id or not found.secret_key:
        raise SettingsError("the credentials of upstream are empty; put the broker's keys into the secret")
    return found


def _secret(name: str) -> bytes:
    import boto3  # only where it is used: it takes a quarter of a second
    from botocore.exceptions import BotoCoreError, ClientError

    region = name.split(":")[3] if name.startswith("arn:") else None
    try:
        client: Any = boto3.client("secretsmanager", region_name=region)
        return str(client.get_secret_value(SecretId=name)["SecretString"]).encode()
    except (BotoCoreError, ClientError, KeyError) as error:
        raise SettingsError(f"the secret {name} cannot be read: {error}") from error
