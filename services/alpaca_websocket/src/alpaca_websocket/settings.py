# SPDX-License-Identifier: GPL-3.0-or-later
"""The one settings file, TOML, as a frozen tree. A field that nobody knows is an error, as is a value out of range.

Secrets are not in it: it names files, or a secret of AWS Secrets Manager, and they are read when they are needed.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from . import consistency, endpoints
from .endpoints import Endpoint
from .store.settings import StoreSettings

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]
_SHORTEST_TOKEN = 16


class SettingsError(Exception):
    """The file cannot be read, or says something that cannot be."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Backfill(_Part, frozen=True):
    """What is fetched after a gap, and where."""

    source: Literal["rest", "replay", "none"] = "rest"
    """`rest`: Alpaca's REST history, where this feed has one. `replay`: asks the upstream, a server like this one."""
    url: str = ""
    """Empty: the one that belongs to the upstream's address, where that is Alpaca's. Any other address needs it."""
    feed: str = ""
    """What the history calls the feed. It follows from the upstream's address; what contradicts that is refused."""
    channels: tuple[str, ...] = ("trades", "bars")
    """What `rest` fetches, of a feed that has them; of news and of the account's orders, all. Quotes are many: a minute
    of all of them is millions."""
    settle_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5
    """How long after the feed is back the fetch begins, so that the last bar has been published."""
    longest_seconds: Seconds = 86400
    """A gap that began earlier than this is filled from then on only."""
    max_symbols: Count = 5000
    """Of a subscription to `*`, the symbols seen most are fetched."""
    attempts: Annotated[int, msgspec.Meta(ge=1)] = 8


class Upstream(_Part, frozen=True):
    """One feed. What is empty here follows from the address, see endpoints.py; `load` fills it in."""

    url: str = "wss://stream.data.alpaca.markets/v2/iex"
    name: str = ""
    """In metrics, logs, and the store's directory. Empty: the endpoint's, such as `iex`."""
    path: str = ""
    """What clients ask for. Empty: the endpoint's, such as `/v2/iex`."""
    credentials_file: str = ""
    """JSON: {"key_id": …, "secret_key": …}. A relative path: in $CREDENTIALS_DIRECTORY, or else beside the settings."""
    credentials_secret: str = ""
    """Instead of a file: name or ARN of a secret in AWS Secrets Manager with the same content."""
    format: Literal["", "json", "msgpack"] = ""
    """Empty: JSON, or what Alpaca sends it in."""
    compression: bool = True
    ca_file: str = ""
    """Certificates to trust instead of the system's, for an upstream of our own."""
    subscribe: dict[str, list[str]] = {}
    """Channel → symbols that are always subscribed, whether a client asks or not; `*` is all of them. The account's own
    orders always are."""
    calendar: str = ""
    """The exchange's name in exchange_calendars, `overnight` or `24/7`."""
    silence: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = {}
    """Channel → how long it may say nothing while the exchange is open, in seconds; 0: it is not judged."""
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

    @property
    def endpoint(self) -> Endpoint:
        """Raises SettingsError."""
        try:
            endpoints.place(self.url)
        except ValueError as error:
            raise SettingsError(f"upstream.url is no address: {self.url}: {error}") from error
        found = endpoints.of(self.url)
        if found is None:
            known = ", ".join(endpoints.ENDPOINTS)
            raise SettingsError(f"upstream.url names no stream of Alpaca's: {self.url}; its path is one of {known}")
        return found

    @property
    def account(self) -> str:
        """What names the account's keys."""
        return self.credentials_file or self.credentials_secret


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
    """Authenticated ones."""
    max_unauthenticated: Annotated[int, msgspec.Meta(ge=1)] = 512
    """Connections that have not authenticated yet; more wait."""
    max_unauthenticated_per_address: Annotated[int, msgspec.Meta(ge=1)] = 256
    max_symbols: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    """Of all connections of a token together, where the token has no limit of its own. `*` is none of them."""
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 2**18
    buffer_bytes: Annotated[int, msgspec.Meta(ge=65536)] = 4 * 2**20
    """What may wait for one client before it is told 407."""
    slow_grace_seconds: Seconds = 5
    """From 407 until it is cut."""
    ping_seconds: Seconds = 60
    """Who says nothing for this long is pinged, and is gone after as long again: a client may be busy for a while."""
    deliver_backfilled: bool = False
    """Messages fetched after a gap: to every client, or only to those that ask for them."""


class Observe(_Part, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8766
    token_file: str = ""
    """Who asks must know what is in it. Empty: anybody may, and then only on a loopback address."""
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
    upstream: Upstream | list[Upstream] = Upstream()
    """`[upstream]` for one feed, `[[upstream]]` for each of several."""
    downstream: Downstream = Downstream()
    observe: Observe = Observe()
    lease: Lease = Lease()

    @property
    def upstreams(self) -> list[Upstream]:
        return self.upstream if isinstance(self.upstream, list) else [self.upstream]

    def store_of(self, upstream: Upstream) -> StoreSettings:
        """The feeds of an array have a directory and a prefix each, below those in the settings."""
        if not isinstance(self.upstream, list):
            return self.store
        prefix = "/".join(filter(None, (self.store.prefix.strip("/"), upstream.name)))
        directory = str(Path(self.store.directory, upstream.name))
        return msgspec.structs.replace(self.store, directory=directory, prefix=prefix)


def load(path: Path) -> Settings:
    """Reads and checks the file, and fills in what follows from the addresses. Raises SettingsError, which names the
    field."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings)
        found = [_complete(upstream, path.absolute().parent) for upstream in settings.upstreams]
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, SettingsError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if not found:
        raise SettingsError(f"{path}: there is no upstream")
    settings = msgspec.structs.replace(settings, upstream=found if isinstance(settings.upstream, list) else found[0])
    problems = [problem for upstream in found for problem in consistency.problems(upstream)]
    if problems := [*problems, *consistency.shared(found), *_listening_problems(settings)]:
        raise SettingsError(f"{path}: {'; '.join(problems)}")
    return settings


def _complete(given: Upstream, directory: Path) -> Upstream:
    """Fills in what follows from the address. Raises SettingsError."""
    endpoint = given.endpoint
    file = given.credentials_file
    if file and "CREDENTIALS_DIRECTORY" not in os.environ:  # a person's hand, not the unit
        file = str(directory / file)
    source = "none" if given.backfill.source == "rest" and not endpoint.history else given.backfill.source
    url = given.backfill.url or endpoints.history_of(given.url, endpoint)
    backfill = msgspec.structs.replace(
        given.backfill,
        source=source,
        url=url or ("https://data.alpaca.markets" if endpoints.is_alpacas(given.url) and not endpoint.trading else ""),
        feed=given.backfill.feed or endpoint.history_feed,
        channels=_fetched(given.backfill.channels, endpoint),
    )
    return msgspec.structs.replace(
        given,
        name=given.name or endpoint.name,
        path=given.path or endpoint.path,
        credentials_file=file,
        format=given.format or endpoint.formats[0],
        # An account's own orders are kept whether somebody listens or not.
        subscribe=given.subscribe or ({name: ["*"] for name in endpoint.channels} if endpoint.trading else {}),
        calendar=given.calendar or endpoint.calendar,
        silence={name: limit for name, limit in {**endpoint.silence, **given.silence}.items() if limit},
        backfill=backfill,
    )


def _fetched(given: tuple[str, ...], endpoint: Endpoint) -> tuple[str, ...]:
    """What is given, or of the default what the feed has."""
    if given != Backfill().channels:
        return given
    return (
        tuple(name for name in given if name in endpoint.channels and name in endpoint.fetchable) or endpoint.fetchable
    )


def _listening_problems(settings: Settings) -> list[str]:
    down, observe, found = settings.downstream, settings.observe, []
    if not down.tokens_file and not _loopback(down.host):
        found.append(f"downstream.tokens_file is needed to listen on {down.host or 'all addresses'}")
    if bool(down.tls_certificate) != bool(down.tls_key):
        found.append("downstream.tls_certificate and tls_key go together")
    if down.port and (down.host, down.port) == (observe.host, observe.port):
        found.append(f"downstream and observe cannot both listen on {down.host} port {down.port}")
    if not observe.token_file and not _loopback(observe.host):
        found.append(f"observe.token_file is needed to listen on {observe.host or 'all addresses'}")
    return found


def certificates(settings: Settings) -> None:
    """Loads the certificates that the settings name. Raises SettingsError."""
    down = settings.downstream
    if down.tls_certificate:
        for field, path in (("tls_certificate", down.tls_certificate), ("tls_key", down.tls_key)):
            _open(f"downstream.{field}", path)
        try:
            made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            made.load_cert_chain(down.tls_certificate, down.tls_key, password="")  # it must not ask a person
        except (ssl.SSLError, ValueError) as error:
            raise SettingsError(
                f"downstream.tls_certificate and tls_key: {down.tls_certificate} and {down.tls_key} are not a "
                f"certificate and its key: {error}; use PEM files that belong together, the key without a password"
            ) from None
    for upstream in settings.upstreams:
        if upstream.ca_file:
            _open("upstream.ca_file", upstream.ca_file)
            try:
                ssl.create_default_context(cafile=upstream.ca_file)
            except ssl.SSLError as error:
                raise SettingsError(
                    f"upstream.ca_file: {upstream.ca_file} has no certificates: {error}; use a PEM file"
                ) from None


def _open(field: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise SettingsError(
            f"{field} cannot be read: {error}; name a file that the server's user may read, or leave it out"
        ) from None


def observe_token(observe: Observe) -> str:
    """What has to be known to read the status port; empty: nothing. Raises SettingsError."""
    if not observe.token_file:
        return ""
    try:
        token = Path(observe.token_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"observe.token_file cannot be read: {error}") from None
    if len(token) < _SHORTEST_TOKEN or not token.isascii():
        raise SettingsError(
            f"observe.token_file: {observe.token_file} holds no token of at least {_SHORTEST_TOKEN} ASCII characters; "
            "make one with: openssl rand -hex 32"
        )
    return token


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
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        # The error's text could quote the content.
        kind = str(error) if isinstance(error, OSError) else type(error).__name__
        raise SettingsError(f"the credentials of upstream {upstream.name} cannot be read: {kind}") from None
    if not found.key_id or not found.secret_key:
        raise SettingsError(
            f"the credentials of upstream {upstream.name} are empty; put the broker's keys into the secret"
        )
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
