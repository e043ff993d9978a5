# SPDX-License-Identifier: GPL-3.0-or-later
"""The data bucket: each object exactly once, verified, also when S3 was away for long. Against a real S3 server."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from alpaca_websocket.store import Store, StoreSettings
from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.upload import UploadConflict, Uploader
from store_kit import assert_contiguous, fill, parquet, settings, until

BUCKET = "algo-dev-data"


class S3:
    """A server that can go away and come back with all it had."""

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: Any = boto3.client("s3", endpoint_url=self.url, region_name="eu-west-1")

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def all_keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def versions(self) -> int:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        return sum(len(page.get("Versions", [])) + len(page.get("DeleteMarkers", [])) for page in pages)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = S3()
    server.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    # Versions would show an object that was written twice.
    server.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield server
    for item in server.client.list_object_versions(Bucket=BUCKET).get("Versions", []):
        server.client.delete_object(Bucket=BUCKET, Key=item["Key"], VersionId=item["VersionId"])
    server.client.delete_bucket(Bucket=BUCKET)
    server.stop()


def _settings(directory: Path, s3: S3, **changes: Any) -> StoreSettings:
    return settings(directory, bucket=BUCKET, prefix="market-data", endpoint_url=s3.url, **changes)


def _assert_each_file_once(s3: S3, directory: Path) -> None:
    local = {f"market-data/{path.relative_to(directory / 'parquet')}": path for path in parquet(directory)}
    assert sorted(s3.all_keys()) == sorted(local)
    assert s3.versions() == len(local)
    for key, path in local.items():
        head = s3.client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(path.read_bytes()).digest()


def test_s3_away_for_long_delays_and_loses_nothing(s3: S3, tmp_path: Path) -> None:
    store = Store.open(_settings(tmp_path, s3, segment_bytes=20_000))
    fill(store, 1, 600)
    until(lambda: store.stats().worker.uploaded_files, "a first upload")
    s3.stop()
    # The pauses between tries are as the settings say; an hour is a matter of their number.
    for number in range(5):
        fill(store, 601 + number * 400, 400)
        before = store.stats().worker.backlog_files
        until(lambda before=before: store.stats().worker.backlog_files > before, "the backlog to grow")  # type: ignore[misc]
    assert "Could not connect" in store.stats().worker.upload_error
    assert store.stats().state == "ok"
    s3.start()
    until(lambda: not store.stats().worker.backlog_files, "the backlog to go")
    assert not store.stats().worker.upload_error
    store.close()
    _assert_each_file_once(s3, tmp_path)
    endpoint = fs.S3FileSystem(endpoint_override=s3.url, region="eu-west-1", access_key="testing", secret_key="testing")
    frames = [
        pd.read_parquet(f"{BUCKET}/market-data/kind={kind}", filesystem=endpoint, columns=["sequence"])
        for kind in ("trades", "quotes")
    ]
    sequences = sorted(pd.concat(frames)["sequence"])
    assert_contiguous(sequences)
    assert len(sequences) == 2600


def test_a_restart_goes_on_with_what_was_not_uploaded(s3: S3, tmp_path: Path) -> None:
    s3.stop()
    store = Store.open(_settings(tmp_path, s3))
    fill(store, 1, 300)
    store.close()
    again = Store.open(_settings(tmp_path, s3))
    assert again.recovery.to_upload == 2
    s3.start()
    until(lambda: again.stats().worker.uploaded_files == 2, "the upload")
    again.close()
    _assert_each_file_once(s3, tmp_path)


def test_an_upload_whose_confirmation_was_lost_is_recognised(s3: S3, tmp_path: Path) -> None:
    store = Store.open(_settings(tmp_path, s3))
    fill(store, 1, 300)
    store.close()
    assert s3.versions() == 2
    layout = Layout(tmp_path)
    for path in parquet(tmp_path):  # as if the worker had died before it noted them as done
        layout.in_outbox(path).parent.mkdir(parents=True, exist_ok=True)
        layout.in_outbox(path).hardlink_to(path)
    again = Store.open(_settings(tmp_path, s3))
    until(lambda: again.stats().worker.uploaded_files == 2, "the confirmation")
    again.close()
    _assert_each_file_once(s3, tmp_path)


def test_an_object_of_someone_else_is_never_overwritten(s3: S3, tmp_path: Path) -> None:
    s3.stop()
    store = Store.open(_settings(tmp_path / "a", s3))
    fill(store, 1, 300)
    store.close()
    s3.start()
    taken = f"market-data/{parquet(tmp_path / 'a')[0].relative_to(tmp_path / 'a' / 'parquet')}"
    s3.client.put_object(Bucket=BUCKET, Key=taken, Body=b"another server's")
    store = Store.open(_settings(tmp_path / "a", s3))
    until(lambda: store.stats().worker.uploaded_files == 1, "the other file's upload")
    until(lambda: "exists with other content" in store.stats().last_error, "the conflict to show")
    assert store.stats().worker.backlog_files == 1
    store.close()
    assert s3.client.get_object(Bucket=BUCKET, Key=taken)["Body"].read() == b"another server's"


def test_a_changed_object_is_not_taken_for_ours(s3: S3, tmp_path: Path) -> None:
    uploader = Uploader(_settings(tmp_path, s3))
    path = tmp_path / "kind=trades" / "file.parquet"
    path.parent.mkdir()
    path.write_bytes(b"ours")
    key = uploader.key(path.relative_to(tmp_path))
    uploader.upload(path, key)
    uploader.upload(path, key)
    assert s3.versions() == 1
    path.write_bytes(b"mine")
    with pytest.raises(UploadConflict):
        uploader.upload(path, key)


def test_local_files_go_only_when_the_bucket_has_them(s3: S3, tmp_path: Path) -> None:
    s3.stop()
    store = Store.open(_settings(tmp_path, s3, retain_days=0.0, segment_bytes=20_000, commit_milliseconds=60_000.0))
    for number in range(4):
        fill(store, number * 300 + 1, 300)
        assert store.flush(60)  # one commit, which fills a segment
    until(lambda: store.stats().worker.backlog_files == 8, "the backlog")
    before = store.stats().worker.upload_tries
    until(lambda: store.stats().worker.upload_tries > before + 1, "another round or two")
    assert len(parquet(tmp_path)) == 8
    s3.start()
    store.close()
    left = parquet(tmp_path)
    assert {path.name for path in left} == {max(path.name for path in left)}, "only the newest stays"
    shutil.rmtree(tmp_path / "parquet")
    rows = 0
    for key in s3.all_keys():
        s3.client.download_file(BUCKET, key, str(tmp_path / "object"))
        rows += pq.read_metadata(tmp_path / "object").num_rows
    assert rows == 1200
