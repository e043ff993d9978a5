# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import random
import typing as t
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from ansible_collections.algo.trading.plugins.module_utils import _errors as errors
from ansible_collections.algo.trading.plugins.module_utils import _model_manifest as manifests
from ansible_collections.algo.trading.plugins.module_utils.models import (
    DEFAULT_PATTERN,
    Listing,
    Model,
    check_layout,
    list_models,
    literal_prefix,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SMA = "models/momentum/AAPL/sma-outer_0_inner_1"


class Refusal(Exception):
    """Shaped as botocore's ClientError is, which unit tests can't count on."""

    def __init__(self, code: str, **headers: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPHeaders": headers}}


class Body(io.BytesIO):
    """Counts the objects that are read."""

    def __init__(self, store: Store, content: bytes) -> None:
        super().__init__(content)
        self._store, self._begun = store, False

    def read(self, size: int | None = -1, /) -> bytes:
        self._store.bodies += not self._begun
        self._begun = True
        return super().read(size)


class Store:
    """The rules of ListObjectsV2 and GetObject, over a dictionary. The integration tests have a real server."""

    def __init__(self, **headers: str) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.pages = self.reads = self.bodies = 0
        self.now = NOON
        self.headers = headers
        self.before_page: dict[int, t.Callable[[], None]] = {}

    def put(self, key: str, body: bytes = b"x", modified: datetime | None = None) -> Store:
        self.objects[key] = (body, modified or self.now - timedelta(hours=1))
        return self

    def _about(self, key: str) -> dict[str, t.Any]:
        body, modified = self.objects[key]
        return {"ETag": f'"{hash(body):x}"', "LastModified": modified}

    def head_object(self, *, Key: str, **_: str) -> dict[str, t.Any]:
        answer = self.get_object(Key=Key)
        del answer["Body"]
        return answer

    def list_objects_v2(self, *, Prefix: str, MaxKeys: int, StartAfter: str = "", **_: str) -> dict[str, t.Any]:
        self.before_page.get(self.pages, lambda: None)()
        self.pages += 1
        keys = sorted(key for key in self.objects if key.startswith(Prefix) and key > StartAfter)
        return {
            "Contents": [{"Key": k, "Size": len(self.objects[k][0]), **self._about(k)} for k in keys[:MaxKeys]],
            "IsTruncated": len(keys) > MaxKeys,
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True), **self.headers}},
        }

    def get_object(self, *, Key: str, **_: str) -> dict[str, t.Any]:
        self.reads += 1
        if Key not in self.objects:
            raise Refusal("NoSuchKey")
        body = self.objects[Key][0]
        return {"Body": Body(self, body), "ContentLength": len(body), **self._about(Key)}


def folder(store: Store, key: str, objects: int) -> None:
    for number in range(objects):
        store.put(f"{key}/part-{number:06}", f"{key}{number}".encode())


def manifest(store: Store, key: str, comment: str = "", modified: datetime | None = None) -> None:
    inside = {k: body for k, (body, _time) in store.objects.items() if k.startswith(f"{key}/") and "manifest" not in k}
    files = [{"path": k[len(key) + 1 :], "size": len(body), "sha256": "0" * 64} for k, body in inside.items()]
    store.put(f"{key}/manifest.json", json.dumps({"files": files, "comment": comment}).encode(), modified)


def listed(store: Store, **options: t.Any) -> Listing:
    store.pages = store.reads = store.bodies = 0
    return list_models(store, "bucket", **options)


def only(store: Store, **options: t.Any) -> Model:
    models, invalid = listed(store, **options)
    assert invalid == []
    assert len(models) == 1
    return models[0]


def flat_pages(store: Store) -> int:
    return max(1, math.ceil(len(store.objects) / 1000))


# What a model is


def test_a_folder_is_one_model_with_totals_over_its_files() -> None:
    store = Store().put(f"{SMA}/model.json", b"12345").put(f"{SMA}/sub/metrics.json", b"123", NOON)
    model = only(store)
    assert model == Model(
        key=SMA,
        name="momentum/AAPL/sma-outer_0_inner_1",
        type="momentum",
        symbol="AAPL",
        model="sma",
        outer=0,
        inner=1,
        bucket="bucket",
        uri=f"s3://bucket/{SMA}/",
        version=model.version,
        size=8,
        objects=2,
        last_modified="2026-03-02T12:00:00Z",
        status="published",
    )
    assert len(model.version) == 32


@pytest.mark.parametrize("extension", ["", ".json", ".tar.gz"])
def test_a_single_file_is_a_model_too(extension: str) -> None:
    model = only(Store().put(SMA + extension, b"123"))
    assert (model.key, model.uri) == (SMA + extension, f"s3://bucket/{SMA}{extension}")
    assert (model.name, model.objects, model.size) == ("momentum/AAPL/sma-outer_0_inner_1", 1, 3)


def test_neighbours_in_key_order_are_told_apart() -> None:
    store = Store()
    names = [
        "sma-outer_0_inner_1",
        "sma-outer_0_inner_10",
        "sma-outer_0_inner_1-outer_0_inner_1",
        "sma-outer_0_inner_2",
    ]
    for name in names:
        store.put(f"models/momentum/AAPL/{name}/model.json")
    models, invalid = listed(store)
    assert sorted(model.key.rsplit("/", 1)[1] for model in models) == sorted(names)
    assert invalid == []


def test_a_model_survives_the_way_through_a_dictionary() -> None:
    model = only(Store().put(f"{SMA}/model.json"))
    assert Model.from_dict({**model.as_dict(), "added_by_somebody": 1}) == model


def test_a_dictionary_that_is_no_model_is_refused_with_a_reason() -> None:
    with pytest.raises(errors.InvalidInput, match=r"Not a model as returned by algo\.trading\.s3_models.*outer"):
        Model.from_dict({"key": SMA})


# What is no model


@pytest.mark.parametrize(
    "key",
    [
        "models/README.md",
        "models/momentum/sma-outer_0_inner_1/model.json",
        "models/momentum/AAPL/sma/model.json",
        "models/momentum/AAPL/sma-outer_0/model.json",
        "models/momentum/AAPL/sma-outer_0_inner_x/model.json",
        "models/momentum/AAPL/sma-outer_01_inner_1/model.json",
        "models/momentum/AAPL/sma-outer_0_inner_1x/model.json",
        "models/momentum/AAPL/sma-outer_0_inner_1.d/model.json",
        "models/momentum/AAPL/sma-outer_0_inner_٣/model.json",
        "models//AAPL/sma-outer_0_inner_1/model.json",
        "models/momentum/AAPL/-outer_0_inner_1/model.json",
        "models/momentum/AAPL/two\nlines-outer_0_inner_1/model.json",
    ],
)
def test_a_key_that_does_not_match_is_reported_and_never_guessed(key: str) -> None:
    models, invalid = listed(Store().put(key))
    assert models == []
    assert invalid == [(key, "does not match the pattern")]


def test_the_empty_objects_that_consoles_make_for_folders_are_nothing() -> None:
    store = Store().put("models/", b"").put("models/momentum/", b"").put(f"{SMA}/", b"").put(f"{SMA}/model.json")
    assert only(store).objects == 1


def test_a_model_folder_without_a_file_is_reported() -> None:
    models, invalid = listed(Store().put(f"{SMA}/", b""))
    assert (models, invalid) == ([], [(f"{SMA}/", "is a model folder without a file")])


@pytest.mark.parametrize(
    ("keys", "used", "companions"),
    [
        ((f"{SMA}/model.json", f"{SMA}.tar.gz"), f"{SMA}/", (f"{SMA}.tar.gz",)),
        ((f"{SMA}.tar.gz", f"{SMA}.tar.gz.sha256"), f"{SMA}.tar.gz", (f"{SMA}.tar.gz.sha256",)),
        ((f"{SMA}.tar.gz", f"{SMA}.tar.gz.txt", f"{SMA}/a"), f"{SMA}/", (f"{SMA}.tar.gz", f"{SMA}.tar.gz.txt")),
        ((SMA, f"{SMA}.json"), SMA, (f"{SMA}.json",)),
        *(
            ((f"{SMA}.tar.gz", f"{SMA}.{note}"), f"{SMA}.tar.gz", (f"{SMA}.{note}",))
            for note in ("json", "md", "txt", "sha256sum", "b3", "tar.gz~", "zip.md5sum", "yaml")
        ),
        ((f"{SMA}.json", f"{SMA}.json.txt"), f"{SMA}.json", (f"{SMA}.json.txt",)),
    ],
)
def test_what_is_named_after_an_artifact_is_its_companion(
    keys: tuple[str, ...], used: str, companions: tuple[str, ...]
) -> None:
    store = Store().put("models/z/MSFT/other-outer_0_inner_0/model.json")
    for key in keys:
        store.put(key)
    models, invalid = listed(store)
    assert [model.uri for model in models] == [
        f"s3://bucket/{used}",
        "s3://bucket/models/z/MSFT/other-outer_0_inner_0/",
    ]
    assert [model.status for model in models] == ["published", "published"]
    assert [entry.key for entry in invalid] == list(companions)
    assert all("not a model" in entry.reason for entry in invalid)


@pytest.mark.parametrize("extension", ["tar.gz.sha256", "MD5", "tar.gz.asc", "zip.sig", "tar.gz.part"])
def test_a_checksum_or_signature_is_no_model_even_alone(extension: str) -> None:
    models, invalid = listed(Store().put(f"{SMA}.{extension}"))
    assert models == []
    assert [entry.reason for entry in invalid] == ["is a checksum, a signature or an unfinished upload, not a model"]


def test_between_two_artifacts_nobody_chooses_and_the_model_is_ambiguous() -> None:
    store = Store().put(f"{SMA}.tar.gz").put(f"{SMA}.zip").put("models/z/MSFT/other-outer_0_inner_0")
    models, invalid = listed(store)
    assert [(model.uri, model.status) for model in models] == [
        (f"s3://bucket/{SMA}.tar.gz", "ambiguous"),
        ("s3://bucket/models/z/MSFT/other-outer_0_inner_0", "published"),
    ]
    assert [(entry.key, "neither is used" in entry.reason) for entry in invalid] == [(f"{SMA}.zip", True)]


def test_a_name_or_uri_that_no_tag_can_hold_is_reported_and_stops_no_other() -> None:
    name = f"models/momentum/AAPL/{'x' * 220}-outer_0_inner_0"
    longer = f"models/momentum/AAPL/{'y' * 250}-outer_0_inner_0"
    models, invalid = listed(Store().put(f"{SMA}/model.json").put(f"{name}/a").put(longer))
    assert [model.key for model in models] == [SMA]
    assert [(entry.key, entry.reason.split(";")[0]) for entry in invalid] == [
        (f"{name}/a", f"has a URI of {len(name) + 13} characters"),
        (longer, f"has a name of {len(longer) - 7} characters"),
    ]


def test_an_empty_bucket_has_no_models_and_costs_a_page() -> None:
    store = Store()
    assert listed(store) == ([], [])
    assert store.pages == 1


# Patterns and filters


def test_a_pattern_of_ones_own() -> None:
    pattern = r"v2/(?P<symbol>\w+)_(?P<type>\w+?)_(?P<model>\w+)_o(?P<outer>\d+)i(?P<inner>\d+)"
    model = only(Store().put("v2/AAPL_momentum_sma_o3i4/model.json"), prefix="v2/", pattern=pattern)
    assert (model.name, model.key) == ("momentum/AAPL/sma-outer_3_inner_4", "v2/AAPL_momentum_sma_o3i4")


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [("(", "not a valid regular expression"), ("(?P<type>a)", "has no named group.*symbol, model, outer, inner")],
)
def test_a_bad_pattern_is_refused_before_any_call(pattern: str, complaint: str) -> None:
    store = Store()
    with pytest.raises(errors.InvalidInput, match=complaint):
        listed(store, pattern=pattern)
    assert store.pages == 0


def test_a_key_that_a_pattern_of_ones_own_takes_without_a_usable_value_is_reported() -> None:
    pattern = r"models/(?P<type>\w+)/(?P<symbol>\w*)/(?P<model>\w+)-outer_(?P<outer>.)_inner_(?P<inner>.)"
    store = Store().put("models/a/B/c-outer_x_inner_0/f").put("models/a//c-outer_0_inner_0/f")
    store.put("models/a/B/d-outer_0_inner_0/f")
    models, invalid = listed(store, pattern=pattern)
    assert [model.name for model in models] == ["a/B/d-outer_0_inner_0"]
    assert [entry.reason for entry in invalid] == [
        "matches the pattern without a symbol",
        "has 'x' for its outer fold, which is not a number",
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 8),
        ({"type": ["momentum"]}, 4),
        ({"type": ["momentum", "mean"], "symbol": ["GOOG"]}, 4),
        ({"type": ["momentum"], "symbol": ["GOOG"], "model": ["sma"]}, 1),
        ({"type": [], "model": ("ema",)}, 4),
        ({"symbol": ["NONE"]}, 0),
    ],
)
def test_filters_leave_what_they_allow(filters: dict[str, list[str]], expected: int) -> None:
    store = Store()
    for kind in ("momentum", "mean"):
        for symbol in ("AAPL", "GOOG"):
            for name in ("sma", "ema"):
                store.put(f"models/{kind}/{symbol}/{name}-outer_0_inner_0/model.json")
    models, _invalid = listed(store, filters=filters)
    assert len(models) == expected
    for name, values in filters.items():
        assert not values or {model.as_dict()[name] for model in models} <= set(values)


def test_a_filter_by_something_else_is_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="Not a filter: colour"):
        listed(Store(), filters={"colour": ["red"]})


def test_a_filter_by_one_type_asks_s3_for_that_type_only() -> None:
    store = Store()
    folder(store, SMA, 900)
    folder(store, "models/mean/AAPL/z-outer_0_inner_0", 900)
    assert only(store, filters={"type": ["mean"]}).type == "mean"
    assert store.pages == 1


# Versions


def change_nothing(store: Store) -> None:
    store.put(f"{SMA}/model.json", b"one", NOON)


def change_file(store: Store) -> None:
    store.put(f"{SMA}/model.json", b"two")


def add_file(store: Store) -> None:
    store.put(f"{SMA}/more.json", b"one")


def remove_file(store: Store) -> None:
    del store.objects[f"{SMA}/metrics.json"]


def rename_file(store: Store) -> None:
    store.objects[f"{SMA}/renamed.json"] = store.objects.pop(f"{SMA}/metrics.json")


def change_neighbour(store: Store) -> None:
    store.put("models/momentum/AAPL/sma-outer_0_inner_2/model.json", b"two")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (change_nothing, True),
        (change_neighbour, True),
        (change_file, False),
        (add_file, False),
        (remove_file, False),
        (rename_file, False),
    ],
)
def test_the_version_follows_the_files_and_nothing_else(change: t.Callable[[Store], None], same: bool) -> None:
    store = Store().put(f"{SMA}/model.json", b"one").put(f"{SMA}/metrics.json", b"m")
    before = listed(store).models[0]
    change(store)
    after = listed(store).models[0]
    assert after.key == before.key == SMA
    assert (after.version == before.version) is same


def test_the_same_files_have_the_same_version_in_another_place() -> None:
    other = "models/mean/GOOG/x-outer_3_inner_4"
    store = Store().put(f"{SMA}/model.json", b"one").put(f"{other}/model.json", b"one")
    assert len({model.version for model in listed(store).models}) == 1


# Publication


def test_a_file_newer_than_the_manifest_means_that_publishing_goes_on() -> None:
    store = Store().put(f"{SMA}/model.json", b"one", NOON - timedelta(hours=2))
    manifest(store, SMA)
    assert only(store).status == "published"
    store.put(f"{SMA}/model.json", b"two", NOON)
    assert only(store).status == "publishing"
    manifest(store, SMA, modified=NOON)
    assert only(store).status == "published"


def copied(store: Store, target: Store) -> None:
    """As a copy from bucket to bucket does: in the order of keys, one a second."""
    for number, key in enumerate(sorted(store.objects)):
        target.put(key, store.objects[key][0], NOON - timedelta(hours=1) + timedelta(seconds=number))


class Checksummed(Store):
    """S3 where objects were uploaded with their SHA-256."""

    def get_object(self, *, Key: str, **_: str) -> dict[str, t.Any]:
        told = base64.b64encode(hashlib.sha256(self.objects[Key][0]).digest()).decode()
        return super().get_object(Key=Key) | {"ChecksumSHA256": told}


def true_manifest(store: Store, key: str) -> None:
    inside = {k: body for k, (body, _time) in store.objects.items() if k.startswith(f"{key}/") and "manifest" not in k}
    named = [
        {"path": k[len(key) + 1 :], "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for k, body in inside.items()
    ]
    store.put(f"{key}/manifest.json", json.dumps({"files": named}).encode(), NOON)


@pytest.mark.parametrize("objects", [2, 1000, 2_400])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", [Store, Checksummed])
def test_a_copy_from_another_bucket_is_judged_by_its_content(kind: type[Store], exact: bool, objects: int) -> None:
    source, target = Store(), kind()
    folder(source, SMA, objects)
    true_manifest(source, SMA)
    copied(source, target)
    model = only(target, exact=exact)
    assert (model.status, model.version) == ("published", only(source, exact=exact).version)
    # A request for each file behind the manifest, one for the manifest, and for a large model one for its totals.
    assert target.reads <= objects + 2
    assert target.pages <= 2 * flat_pages(target)
    # The next publication, with its manifest still to come: the same size, other content.
    last = f"{SMA}/part-{objects - 1:06}"
    target.put(last, target.objects[last][0][::-1], NOON)
    changed = only(target, exact=exact)
    # What lies behind the first thousand of a large model is covered by its manifest, and seen where others are newer.
    assert changed.status == "publishing"
    copied(source, target)
    target.put(f"{SMA}/weights.bin", b"new", NOON)
    assert only(target, exact=exact).status == "publishing"


def test_a_large_copy_whose_checksums_s3_knows_is_published_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "READ_LIMIT", 100)
    source, target, blind = Store(), Checksummed(), Store()
    for number in range(4):
        source.put(f"{SMA}/part-{number}", bytes([number]) * 40)
    true_manifest(source, SMA)
    copied(source, target)
    copied(source, blind)
    assert only(target).status == "published"
    assert target.bodies == 1  # the manifest's
    target.put(f"{SMA}/part-3", b"x" * 40, NOON)
    assert only(target).status == "publishing"
    # Without checksums it cannot be told. The remedy is to write the manifest last, which changes no version.
    model = only(blind)
    assert (model.status, blind.bodies) == ("unverified", 1)
    assert f"aws s3 cp s3://bucket/{SMA}/manifest.json s3://bucket/{SMA}/manifest.json" in model.reason
    assert "S3 has no SHA-256 of" in model.reason
    blind.put(f"{SMA}/manifest.json", blind.objects[f"{SMA}/manifest.json"][0], NOON)
    assert (only(blind).status, only(blind).version) == ("published", model.version)


def test_more_files_than_are_asked_for_are_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "FILES_LIMIT", 1_500)
    source, target = Store(), Checksummed()
    folder(source, SMA, 1_600)
    true_manifest(source, SMA)
    copied(source, target)
    model = only(target)
    assert model.status == "unverified"
    assert "it has 1600 files; no more than 1500 are compared" in model.reason
    assert only(target, exact=True).status == "unverified"
    assert target.reads <= 1


@pytest.mark.parametrize("forbidden", ["manifest.json", "model.json"])
def test_files_that_may_not_be_read_are_no_proof_of_a_publication(forbidden: str) -> None:
    class Forbidding(Store):
        def get_object(self, *, Key: str, **_: str) -> dict[str, t.Any]:
            if Key.endswith(forbidden):
                raise Refusal("AccessDenied")
            return super().get_object(Key=Key)

    source, target = Store(), Forbidding()
    source.put(f"{SMA}/model.json", b"model").put(f"{SMA}/metrics.json", b"metrics")
    source.put("models/z/MSFT/other-outer_0_inner_0/model.json")
    true_manifest(source, SMA)
    copied(source, target)
    models, invalid = listed(target)
    assert invalid == []
    assert {model.model: model.status for model in models} == {"sma": "unreadable", "other": "published"}
    assert f"Allow s3:GetObject on arn:aws:s3:::bucket/{SMA}/*" in models[0].reason


def test_where_manifests_are_required_a_folder_without_one_is_not_published_yet() -> None:
    store = Store().put(f"{SMA}/model.json")
    assert only(store).status == "published"
    assert only(store, require_manifest=True).status == "publishing"
    assert only(Store().put(f"{SMA}.tar.gz"), require_manifest=True).status == "published"


# Large models


def test_ten_thousand_objects_cost_two_pages() -> None:
    store = Store()
    folder(store, SMA, 10_000)
    manifest(store, SMA)
    model = only(store)
    assert (store.pages, store.reads, flat_pages(store)) == (2, 1, 11)
    assert (model.objects, model.status) == (10_001, "published")
    assert model.size == sum(len(body) for body, _time in store.objects.values())


def test_a_large_model_between_others_hides_none_of_them() -> None:
    store = Store()
    before, after = "models/momentum/AAPL/sma-outer_0_inner_0", "models/momentum/AAPL/sma-outer_0_inner_10"
    folder(store, before, 300)
    folder(store, SMA, 10_000)
    store.put(after)  # Sorts right behind the large folder; a single file without extension.
    store.put(f"{SMA}-outer_0_inner_0/model.json")  # Sorts before it: "-" comes before "/".
    models, invalid = listed(store)
    assert [model.key for model in models] == [before, f"{SMA}-outer_0_inner_0", SMA, after]
    assert invalid == []
    assert store.pages == 3


def test_a_large_model_follows_its_manifest_and_all_that_was_seen_of_it() -> None:
    store = Store()
    folder(store, SMA, 2_500)
    manifest(store, SMA)
    versions = {only(store).version}
    store.put(f"{SMA}/part-002400", b"changed")
    manifest(store, SMA, comment="another digest of part 2400")
    versions.add(only(store).version)
    store.put(f"{SMA}/part-000000", b"changed behind the manifest's back")
    versions.add(only(store).version)
    assert len(versions) == 3


def test_without_a_manifest_a_large_model_is_partial_and_says_so() -> None:
    store = Store()
    folder(store, SMA, 2_500)
    model = only(store)
    assert (model.status, model.objects, store.pages) == ("partial", 1000, 2)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"files": [{"path": "x"}]}', b'{"files": 3}', b"\xff"])
def test_a_manifest_that_names_no_files_vouches_for_nothing(body: bytes) -> None:
    store = Store()
    folder(store, SMA, 1_200)
    store.put(f"{SMA}/manifest.json", body)
    assert only(store).status == "partial"


def test_exact_reads_a_large_model_whole() -> None:
    store = Store()
    folder(store, SMA, 2_500)
    before = only(store, exact=True)
    assert (before.status, before.objects, store.pages, store.reads) == ("published", 2_500, 3, 0)
    store.put(f"{SMA}/part-002400", b"changed")
    assert only(store, exact=True).version != before.version


@pytest.mark.parametrize("objects", [999, 1000, 1001, 1999, 2000, 2001])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_neighbours_never_move_a_version(objects: int, with_manifest: bool) -> None:
    """Page boundaries depend on what lies before; a server must not be replaced because of it."""
    store = Store()
    folder(store, SMA, objects)
    if with_manifest:
        manifest(store, SMA)
    alone = only(store)
    for before in (1, 2, 500, 998, 999, 1000, 1001, 1500):
        other = Store()
        other.objects = dict(store.objects)
        folder(other, "models/a/AAPL/a-outer_0_inner_0", before)
        assert listed(other).models[1] == alone


@pytest.mark.parametrize("seed", range(12))
def test_there_are_never_more_pages_than_in_a_flat_listing(seed: int) -> None:
    rng = random.Random(seed)
    store = Store()
    expected = {}
    for number in range(rng.randrange(1, 40)):
        key = f"models/{rng.choice('ab')}/{rng.choice('XY')}/m{number}-outer_{rng.randrange(3)}_inner_{number}"
        expected[key] = rng.choice([1, 2, 5, 999, 1000, 1001, 3000] if rng.random() < 0.3 else [1, 3, 40])
        folder(store, key, expected[key])
        if rng.random() < 0.5:
            manifest(store, key)
            expected[key] += 1
    for number in range(rng.randrange(0, 1500)):
        store.put(f"models/{rng.choice('ab')}/junk/{number}")
    models, _invalid = listed(store)
    assert store.pages <= flat_pages(store)
    assert store.reads <= store.pages
    assert {m.key: m.objects for m in models if m.status != "partial"} == {
        m.key: expected[m.key] for m in models if m.status != "partial"
    }
    assert {model.key for model in models} == set(expected)
    assert all(expected[model.key] >= 1000 for model in models if model.status == "partial")


# Trouble


def test_a_model_written_between_two_pages_is_being_published_and_the_others_are_read() -> None:
    store = Store()
    folder(store, SMA, 999)
    folder(store, "models/a/AAPL/a-outer_0_inner_0", 500)
    store.before_page[1] = lambda: store.put(f"{SMA}/part-000800", b"new", NOON + timedelta(seconds=1)) and None
    models, invalid = listed(store)
    assert {model.model: model.status for model in models} == {"a": "published", "sma": "publishing"}
    assert invalid == []


def test_another_model_written_between_two_pages_is_none() -> None:
    store = Store()
    folder(store, "models/a/AAPL/a-outer_0_inner_0", 999)
    folder(store, SMA, 500)
    store.before_page[1] = lambda: (
        store.put("models/z/AAPL/z-outer_0_inner_0/m", b"new", NOON + timedelta(seconds=1)) and None
    )
    assert len(listed(store).models) == 3


def test_a_manifest_newer_than_the_listing_means_that_publishing_goes_on() -> None:
    store = Store()
    folder(store, SMA, 1500)
    manifest(store, SMA, modified=NOON + timedelta(seconds=1))
    assert only(store).status == "publishing"


def test_a_manifest_that_may_not_be_read_holds_its_own_model_only() -> None:
    class Forbidding(Store):
        def get_object(self, *, Key: str, **_: str) -> dict[str, t.Any]:
            raise Refusal("AccessDenied")

    store = Forbidding().put("models/z/MSFT/other-outer_0_inner_0/model.json")
    folder(store, SMA, 1500)
    manifest(store, SMA)
    models, invalid = listed(store)
    assert invalid == []
    assert {model.model: model.status for model in models} == {"sma": "unreadable", "other": "published"}
    assert "Allow s3:GetObject" in models[0].reason


def test_a_bucket_that_goes_away_half_way_is_told_from_a_missing_one() -> None:
    def fail() -> None:
        raise Refusal("NoSuchBucket")

    store = Store()
    folder(store, SMA, 1500)
    store.before_page[1] = fail
    with pytest.raises(errors.Changed, match="bucket bucket was removed while"):
        listed(store)
    store.before_page[0] = fail
    with pytest.raises(errors.NotFound, match=r"list the bucket bucket.*Create the bucket"):
        listed(store)


def test_a_store_that_can_not_go_on_is_stopped_rather_than_asked_for_ever() -> None:
    store = Store()
    folder(store, SMA, 999)
    folder(store, "models/z/AAPL/z-outer_0_inner_0", 999)
    answer = store.list_objects_v2(Prefix="models/", MaxKeys=1000)
    store.list_objects_v2 = lambda **_: answer  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.Changed, match="out of order"):
        listed(store)


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        ("AccessDenied", errors.AccessDenied, r"s3:ListBucket on arn:aws:s3:::bucket"),
        ("InvalidAccessKeyId", errors.CredentialsProblem, "Log in again"),
        ("PermanentRedirect", errors.WrongRegion, "Set the region to eu-west-1"),
        ("SlowDown", errors.Throttled, "Try again"),
        ("SomethingNew", errors.AlgoTradingError, "SomethingNew"),
    ],
)
def test_every_refusal_names_the_bucket_and_the_remedy(
    code: str, kind: type[errors.AlgoTradingError], remedy: str
) -> None:
    def fail() -> None:
        raise Refusal(code, **{"x-amz-bucket-region": "eu-west-1"})

    store = Store()
    store.before_page[0] = fail
    with pytest.raises(kind, match=rf"(?s)Could not list the bucket bucket.*{remedy}") as caught:
        listed(store)
    assert caught.type is kind
    assert isinstance(caught.value.__cause__, Refusal)


def test_a_bucket_of_another_region_is_an_error_where_a_region_was_asked_for() -> None:
    store = Store(**{"x-amz-bucket-region": "eu-west-1"}).put(f"{SMA}/model.json")
    assert only(store, region="eu-west-1") == only(store)
    with pytest.raises(
        errors.WrongRegion, match=r"bucket is in the region eu-west-1, not in us-east-1.*Set the region"
    ):
        listed(store, region="us-east-1")


# Layout and owner


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        (DEFAULT_PATTERN, "models/"),
        (r"v2/(?P<symbol>\w+)/", "v2/"),
        (r"^a\.b/\d", "a.b/"),
        ("ab?c", "a"),
        ("ab{2}c", "a"),
        ("a/b|c/d", ""),
        ("x/(a|b)/c", "x/"),
        ("x[|]y", "x"),
        ("(?P<type>x)", ""),
        ("", ""),
    ],
)
def test_a_pattern_says_what_its_keys_begin_with(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


def test_a_prefix_that_no_key_of_the_pattern_has_is_refused() -> None:
    for fitting in ("", "models", "models/", "models/momentum/"):
        check_layout(DEFAULT_PATTERN, fitting)
    with pytest.raises(errors.InvalidInput, match="No key that begins with the prefix 'v2/' can match the pattern"):
        check_layout(DEFAULT_PATTERN, "v2/")


class Owned(Store):
    """A bucket of account 123456789012: S3 refuses whoever expects another one."""

    def list_objects_v2(self, *, ExpectedBucketOwner: str = "123456789012", **request: t.Any) -> dict[str, t.Any]:
        if ExpectedBucketOwner != "123456789012":
            raise Refusal("AccessDenied")
        return super().list_objects_v2(**request)

    def get_object(self, *, ExpectedBucketOwner: str = "", **request: t.Any) -> dict[str, t.Any]:
        assert ExpectedBucketOwner == "123456789012"
        return super().get_object(**request)


def test_a_bucket_of_another_account_is_not_read() -> None:
    store = Owned()
    folder(store, SMA, 1200)
    manifest(store, SMA)
    [model], _invalid = listed(store, owner="123456789012")
    assert (model.objects, store.reads) == (1201, 1)
    with pytest.raises(errors.AccessDenied) as refused:
        listed(store, owner="999999999999")
    assert "if the bucket does not belong to the expected account 999999999999" in str(refused.value)
