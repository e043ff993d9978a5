# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in a bucket: what a key means, and a listing that costs pages by model rather than by object.

How a listing stays cheap. Objects are read flat, in key order. Where a page ends inside a model of which a whole
page's worth (1000 objects) has been seen, the next page starts behind that model. So every page starts where the
flat listing's page would have started, or further on, and there are never more pages than in a flat listing.

What the version of such a large model rests on. What was skipped was not seen, so another source has to cover
it: `manifest.json`, which the publisher uploads last and which names every file with its digest. The version of a
large model is the digest of its first 1000 objects and of its manifest. It depends on nothing else, so that it does
not move when neighbours shift the page boundaries. Without a manifest the model is marked `partial`.
Models of fewer than 1000 objects are always read whole, with or without a manifest.

An invalid key or an unreadable model is reported and does not stop the others.

Plain Python without Ansible or boto3: the lookup and the trading_server Lambda share it.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from . import _model_listing as listing
from . import _model_manifest as manifests
from ._errors import AccessDenied, InvalidInput

DEFAULT_PATTERN = (
    r"models/(?P<type>[A-Za-z0-9][A-Za-z0-9._+=@-]*)/(?P<symbol>[A-Za-z0-9][A-Za-z0-9._+=@-]*)/"
    r"(?P<model>[A-Za-z0-9][A-Za-z0-9._+=@-]*)-outer_(?P<outer>0|[1-9][0-9]*)_inner_(?P<inner>0|[1-9][0-9]*)"
)
DEFAULT_PREFIX = "models/"
MANIFEST = manifests.MANIFEST
GROUPS = ("type", "symbol", "model", "outer", "inner")
FILTERS = ("type", "symbol", "model")

# A model is a folder, or one file with an extension, or one file without.
_ARTIFACT = r"(?P<_rest>/.*|\.[^/]+)?"

# Companions of an artifact: checksums, signatures, unfinished uploads, backups of editors.
_COMPANION = re.compile(
    r"(~|\.((md5|sha1|sha224|sha256|sha384|sha512|b2|b3)(sum)?|blake[23]b?|crc32c?|asc|gpg|minisig|sig|sigstore|"
    r"part|partial|tmp|bak|orig|sw[op]))$",
    re.IGNORECASE,
)
# A model if it is alone, and a note about the model where there is another artifact.
_NOTE = re.compile(r"\.(json|ya?ml|toml|ini|md|rst|txt|log|csv|html?|pdf|png|svg)$", re.IGNORECASE)
# The name and the URI of a model become tags of its server.
MOST_IN_A_TAG = 256
_READERS = 8

Status = t.Literal["published", "publishing", "partial", "ambiguous", "unverified", "unreadable"]


@dataclasses.dataclass(frozen=True)
class Model:
    """One model artifact. `name` is its identity within the bucket, `version` what it holds."""

    key: str
    name: str
    type: str
    symbol: str
    model: str
    outer: int
    inner: int
    bucket: str
    uri: str
    version: str
    size: int
    objects: int
    last_modified: str
    status: Status = "published"
    # Why it is `unverified` or `unreadable`, and what to do.
    reason: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, t.Any]) -> Model:
        """The model of a dictionary as `as_dict` gives it; what else stands in it is left aside."""
        fields = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        try:
            return cls(**{**fields, "outer": int(fields["outer"]), "inner": int(fields["inner"])})
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidInput(
                f"Not a model as returned by algo.trading.s3_models: {dict(values)!r} ({exc})",
                remedy="Pass the lookup's entries unchanged",
            ) from exc


class InvalidKey(t.NamedTuple):
    """A key under the prefix that is no part of any model."""

    key: str
    reason: str


class Listing(t.NamedTuple):
    models: list[Model]
    invalid: list[InvalidKey]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern of a model's name, made to match whole object keys."""
    try:
        compiled = re.compile(f"(?:{pattern}){_ARTIFACT}", re.DOTALL)
    except re.error as exc:
        raise InvalidInput(
            f"The pattern {pattern!r} is not a valid regular expression: {exc}", remedy="Correct the option pattern"
        ) from exc
    if missing := [group for group in GROUPS if group not in compiled.groupindex]:
        raise InvalidInput(
            f"The pattern {pattern!r} has no named group(s) {', '.join(missing)}",
            remedy=f"It needs all of {', '.join(GROUPS)}, as in the default {DEFAULT_PATTERN!r}",
        )
    return compiled


def literal_prefix(pattern: str) -> str:
    """What every key begins with that the pattern matches, as far as it stands in the pattern literally."""
    # An alternative outside of all groups means that keys have no common beginning.
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern)
    while bare != (bare := re.sub(r"\([^()]*\)", "", bare)):
        pass
    if "|" in bare:
        return ""
    literal, rest = "", pattern.removeprefix("^")
    while rest:
        escaped = rest[0] == "\\" and len(rest) > 1
        char, behind = (rest[1], rest[2:]) if escaped else (rest[0], rest[1:])
        special = char.isalnum() if escaped else char in ".^$*+?{}[]()\\"
        if special or behind[:1] in ("*", "?", "{"):
            break
        literal, rest = literal + char, behind
    return literal


def check_layout(pattern: str, prefix: str = "") -> None:
    """Refuse a pattern that is not usable, or that no key under the prefix can match."""
    compile_pattern(pattern)
    begins = literal_prefix(pattern)
    shorter = min(len(begins), len(prefix))
    if begins[:shorter] != prefix[:shorter]:
        raise InvalidInput(
            f"No key that begins with the prefix {prefix!r} can match the pattern {pattern!r}",
            remedy="The pattern must match the whole key, prefix included; correct it or omit the prefix",
        )


class _OwnedBucket:
    """An S3 client whose every request names the account that the bucket has to belong to."""

    def __init__(self, s3: t.Any, owner: str) -> None:
        self._s3, self._owner = s3, owner

    def __getattr__(self, operation: str) -> t.Any:
        return partial(getattr(self._s3, operation), ExpectedBucketOwner=self._owner)


def list_models(
    s3: t.Any,
    bucket: str,
    prefix: str = DEFAULT_PREFIX,
    pattern: str = DEFAULT_PATTERN,
    filters: Mapping[str, Collection[str]] | None = None,
    *,
    exact: bool = False,
    require_manifest: bool = False,
    region: str | None = None,
    owner: str = "",
) -> Listing:
    """List the models of a bucket, in the order of their keys, and the keys that belong to none.

    `filters` allows values for type, symbol and model; an absent or empty one allows all.
    `exact` reads large models whole, whatever it costs. `require_manifest` marks a folder without one `publishing`.
    With `region`, a bucket that says it lives elsewhere is an error. With `owner`, one of another account is.
    """
    if owner:
        try:
            return list_models(
                _OwnedBucket(s3, owner),
                bucket,
                prefix,
                pattern,
                filters,
                exact=exact,
                require_manifest=require_manifest,
                region=region,
            )
        except AccessDenied as exc:
            raise AccessDenied(
                exc.problem,
                remedy=f"{exc.remedy}. S3 gives the same error if the bucket does not belong to the expected "
                f"account {owner}; then correct the bucket's name or the owner",
            ) from exc
    allowed = {name: frozenset(values) for name, values in (filters or {}).items() if values}
    if unknown := sorted(set(allowed) - set(FILTERS)):
        raise InvalidInput(f"Not a filter: {', '.join(unknown)}", remedy=f"Filter by {', '.join(FILTERS)}")
    matcher = compile_pattern(pattern)
    if pattern == DEFAULT_PATTERN and prefix == DEFAULT_PREFIX:
        prefix = _narrow(prefix, allowed)

    found: dict[str, list[_Candidate]] = {}
    invalid: list[InvalidKey] = []
    for group in listing.groups(s3, bucket, prefix, lambda key: _artifact(matcher, key), exact=exact, region=region):
        match = matcher.fullmatch(group.member)
        if match is None:
            if not listing.is_placeholder(group.member, group.size):
                invalid.append(InvalidKey(group.member, "does not match the pattern"))
            continue
        values = match.groupdict()
        if any(values[name] not in wanted for name, wanted in allowed.items()):
            continue
        if reason := _why_no_model(bucket, group, values):
            invalid.append(InvalidKey(group.member, reason))
            continue
        candidate = _candidate(s3, bucket, group, values, exact=exact, require_manifest=require_manifest)
        found.setdefault(candidate.model.name, []).append(candidate)
    chosen: list[_Candidate] = []
    for candidates in found.values():
        kept, others = _choose(candidates)
        chosen.append(kept)
        invalid += others
    with ThreadPoolExecutor(_READERS) as readers:
        models = list(readers.map(lambda candidate: _judged(s3, bucket, candidate, exact=exact), chosen))
    return Listing(models, sorted(invalid))


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """An artifact as the listing shows it. Files of a `doubtful` one were written after its manifest."""

    model: Model
    group: listing.Group
    doubtful: bool = False


def _why_no_model(bucket: str, group: listing.Group, values: Mapping[str, str | None]) -> str:
    """Why a key that looks like a model is not valid. It is reported and does not stop the others."""
    if not group.entries:
        return "is a model folder without a file"
    if not group.folder and _COMPANION.search(group.member):
        return "is a checksum, a signature or an unfinished upload, not a model"
    if empty := [name for name in GROUPS if not values[name]]:
        return f"matches the pattern without a {empty[0]}"
    for fold in ("outer", "inner"):
        if not str(values[fold]).isdecimal():
            return f"has {values[fold]!r} for its {fold} fold, which is not a number"
    for what, text in (("name", _name(values)), ("URI", f"s3://{bucket}/{group.artifact}")):
        if len(text) > MOST_IN_A_TAG:
            return f"has a {what} of {len(text)} characters; a tag of its server holds {MOST_IN_A_TAG}"
    return ""


def _choose(candidates: list[_Candidate]) -> tuple[_Candidate, list[InvalidKey]]:
    """The artifact of a model, where there are several: the one that the others are named after.

    `x.tar.gz` beside the folder `x/` is a companion of the folder, `x.tar.gz.txt` and `x.json` are some of the
    archive. Between `x.tar.gz` and `x.zip` nobody can choose: the model is ambiguous, and keeps the server that it has.
    """
    if len(candidates) == 1:
        return candidates[0], []
    artifacts = [found for found in candidates if found.group.folder or not _NOTE.search(found.model.key)]
    if artifacts and len(artifacts) < len(candidates):
        kept, rivals = _choose(artifacts)
        notes = [found.model.key for found in candidates if found not in artifacts]
        return kept, [*rivals, *(InvalidKey(key, f"is a companion of {kept.model.uri}, not a model") for key in notes)]
    for kept in candidates:
        others = [other.model for other in candidates if other is not kept]
        if all(other.key.startswith(f"{kept.model.key}.") for other in others):
            reason = f"is a companion of {kept.model.uri}, not a model"
            return kept, [InvalidKey(other.key, reason) for other in others]
    first, *rest = candidates
    reason = f"is an artifact of the same model as {first.model.uri}; neither is used until one is removed"
    model = dataclasses.replace(first.model, status="ambiguous")
    return _Candidate(model, first.group), [InvalidKey(other.model.key, reason) for other in rest]


def _judged(s3: t.Any, bucket: str, candidate: _Candidate, *, exact: bool) -> Model:
    """The model, published after all if its content is what its manifest says."""
    if not candidate.doubtful:
        return candidate.model
    status, reason = manifests.judge(s3, bucket, candidate.group, exact=exact)
    return dataclasses.replace(candidate.model, status=status, reason=reason)


def _name(values: Mapping[str, str | None]) -> str:
    return f"{values['type']}/{values['symbol']}/{values['model']}-outer_{values['outer']}_inner_{values['inner']}"


def invalid_message(bucket: str, invalid: Collection[InvalidKey], shown: int = 5) -> str:
    """The message about keys that are not models."""
    some = ", ".join(f"{key!r} ({reason})" for key, reason in list(invalid)[:shown])
    more = f" and {len(invalid) - shown} more" if len(invalid) > shown else ""
    return (
        f"The bucket {bucket} holds {len(invalid)} key(s) that are not models: {some}{more}. "
        "Rename or remove them, or adapt the options pattern and prefix."
    )


def _narrow(prefix: str, allowed: Mapping[str, Collection[str]]) -> str:
    """Ask S3 only for what the filters allow, where that is a single folder."""
    for name in ("type", "symbol"):
        if len(allowed.get(name, ())) != 1:
            return prefix
        prefix += f"{next(iter(allowed[name]))}/"
    return prefix


def _artifact(matcher: re.Pattern[str], key: str) -> str | None:
    """The folder (with its slash) or the single file that this key belongs to; None if to no model."""
    found = matcher.fullmatch(key)
    if found is None:
        return None
    rest = found["_rest"] or ""
    return key[: found.start("_rest") + 1] if rest.startswith("/") else key


def _candidate(
    s3: t.Any,
    bucket: str,
    group: listing.Group,
    values: Mapping[str, str],
    *,
    exact: bool,
    require_manifest: bool,
) -> _Candidate:
    entries = group.entries
    size, objects = sum(entry.size for entry in entries), len(entries)
    newest = max(entry.modified for entry in entries)
    manifest = next((entry.modified for entry in entries if entry.path == MANIFEST), None)
    status: Status = "published"
    reason = ""
    evidence = [(entry.path, entry.etag, entry.size) for entry in entries]
    if group.large and not exact:
        status = "partial"
        try:
            read = manifests.read_manifest(s3, bucket, group)
        except AccessDenied as exc:
            read, status = None, "unreadable"
            reason = f"its {MANIFEST} cannot be read: {exc}".rstrip(".")
        if read:
            evidence.append((f"/{MANIFEST}", read.etag, read.size))
            size, objects, manifest, status = read.total_size, read.total_objects, read.modified, "published"
    newer = manifest is not None and newest > manifest
    missing = not manifest and require_manifest and group.folder and status != "unreadable"
    if newer or group.torn or missing:
        status, reason = "publishing", ""
    model = Model(
        key=group.artifact.rstrip("/"),
        name=_name(values),
        type=values["type"],
        symbol=values["symbol"],
        model=values["model"],
        outer=int(values["outer"]),
        inner=int(values["inner"]),
        bucket=bucket,
        uri=f"s3://{bucket}/{group.artifact}",
        version=listing.digest(evidence),
        size=size,
        objects=objects,
        last_modified=_iso(max(newest, manifest or newest)),
        status=status,
        reason=reason,
    )
    # What was written while it was listed is not looked into: it is still being written.
    return _Candidate(model, group, newer and not group.torn)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = (
    "DEFAULT_PATTERN",
    "DEFAULT_PREFIX",
    "FILTERS",
    "MANIFEST",
    "InvalidKey",
    "Listing",
    "Model",
    "check_layout",
    "compile_pattern",
    "invalid_message",
    "list_models",
    "literal_prefix",
)
