# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of upstreams say against each other, against their addresses, and against Alpaca's rules."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from . import endpoints
from .protocol import FOLLOWS_TRADES

if TYPE_CHECKING:
    from .settings import Credentials, Upstream

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def problems(up: Upstream) -> list[str]:
    """What in one upstream cannot be, in words; nothing where all is well."""
    endpoint, fill = up.endpoint, up.backfill
    found = []
    if not up.url.startswith(("ws://", "wss://")):
        found.append(f"upstream.url is not a WebSocket address: {up.url}")
    elif not endpoints.place(up.url)[0]:
        found.append(
            f"upstream.url has no host: {up.url}; write it like wss://stream.data.alpaca.markets{endpoint.path}"
        )
    if not _NAME.fullmatch(up.name):
        found.append(f"upstream.name is not of letters, digits, - and _: {up.name}")
    if not up.path.startswith("/") or up.path.endswith("/"):
        found.append(f"upstream.path does not begin with a slash, or ends with one: {up.path}")
    if bool(up.credentials_file) == bool(up.credentials_secret):
        found.append("name one of upstream.credentials_file and upstream.credentials_secret")
    for field, names in (("subscribe", up.subscribe), ("silence", up.silence)):
        if wrong := sorted(names.keys() - set(endpoint.channels)):
            there = ", ".join(endpoint.channels)
            found.append(f"upstream.{field} names no channel of {up.name}: {', '.join(wrong)} (there are {there})")
    if wrong := sorted(up.subscribe.keys() & set(FOLLOWS_TRADES)):
        found.append(f"upstream.subscribe: {', '.join(wrong)} come with trades; leave them out")
    if empty := [name for name, symbols in up.subscribe.items() if not all(symbol.strip() for symbol in symbols)]:
        found.append(f"upstream.subscribe has an empty symbol for {', '.join(empty)}; leave it out, or name the symbol")
    if starred := [name for name in endpoint.no_star if "*" in up.subscribe.get(name, ())]:
        found.append(f"upstream.subscribe: {up.name} has no * for {', '.join(starred)}; name the symbols")
    if up.format not in endpoint.formats:
        found.append(f"upstream.format: {up.name} is available as {endpoint.formats[0]} only")
    if up.backoff_seconds > up.backoff_max_seconds:
        found.append("upstream.backoff_seconds exceeds backoff_max_seconds")
    if fill.source == "replay" and endpoints.is_alpacas(up.url):
        found.append(
            f"upstream.backfill.source: {up.url} is Alpaca's, which does not replay; leave backfill.source out"
        )
    if fill.source == "rest":
        own = endpoints.history_of(up.url, endpoint)
        if own and endpoints.is_alpacas(fill.url) and fill.url.rstrip("/") != own:
            found.append(f"upstream.backfill.url is {fill.url}, but the history of {up.url} is at {own}; leave it out")
        if fill.feed != endpoint.history_feed:
            right = f'belongs to the feed "{endpoint.history_feed}"' if endpoint.history_feed else "has no such feeds"
            found.append(f'upstream.backfill.feed is "{fill.feed}", but {up.url} {right}; leave backfill.feed out')
        if wrong := sorted(set(fill.channels) - set(endpoint.fetchable)):
            there = ", ".join(endpoint.fetchable)
            found.append(f"upstream.backfill.channels: {up.name} has no past of {', '.join(wrong)} (there is {there})")
        if not fill.url:
            found.append(
                f"upstream.backfill.url is needed: {up.url} does not tell where the REST history is; if it is a server "
                'like this one, set backfill.source = "replay" instead'
            )
    return found


def shared(upstreams: list[Upstream]) -> list[str]:
    """What two feeds cannot both have."""
    found = []
    for first, second in itertools.combinations(upstreams, 2):
        both = f"the upstreams {first.name} ({first.url}) and {second.name} ({second.url})"
        if endpoints.place(first.url) == endpoints.place(second.url) and first.account == second.account:
            found.append(_one_place(both))
        elif first.name == second.name:
            found.append(f"{both} have one name; give each a `name` of its own")
        elif first.path == second.path:
            found.append(f"{both} would be served at one path; give each a `path` of its own")
    return found


def _one_place(both: str) -> str:
    return (
        f"{both} would take one account's single connection to this endpoint, and Alpaca answers 406 to the second; "
        "leave one out, or give it another account's keys"
    )


def one_account(upstreams: Sequence[Upstream], keys: Mapping[str, Credentials]) -> list[str]:
    """The same account may be named by two files or secrets: compares the keys themselves.

    :param keys: upstream's name → its credentials
    """
    return [
        _one_place(f"the upstreams {first.name} ({first.account}) and {second.name} ({second.account})")
        for first, second in itertools.combinations(upstreams, 2)
        if keys[first.name].key_id == keys[second.name].key_id
        and endpoints.place(first.url) == endpoints.place(second.url)
    ]
