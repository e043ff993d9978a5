# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/rollback.yml: an earlier version of a model is put back, whole or not at all, and on record."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError, InvalidInput, NotFound
from ansible_collections.algo.trading.plugins.module_utils.model_history import ModelHistory, Publication, choose
from ansible_collections.algo.trading.tests.integration.environments import MODELS, Environment

if TYPE_CHECKING:
    from conftest import Aws, Playbook

BUCKET, FOLDER = "algo-model-deploy-qa", f"models/{MODELS[0]}/"
FIRST = {"model.json": b"first", "weights.bin": b"1" * 40, "only-first.txt": b"here"}
SECOND = {"model.json": b"other", "weights.bin": b"2" * 40, "only-second.txt": b"new"}
PLAYBOOK = "playbooks/rollback.yml"
REASON = {"algo_reason": "its orders are too large, é", "algo_person": "the desk"}


class Bucket:
    def __init__(self, s3: Any, name: str = BUCKET, versions: bool = True) -> None:
        self.s3, self.name = s3, name
        s3.create_bucket(Bucket=name)
        if versions:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def publish(self, files: dict[str, bytes]) -> str:
        """As the model team does: files, then the manifest, then what is not there any more goes."""
        named = [
            {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in files.items()
        ]
        manifest = json.dumps({"files": named}).encode()
        for path, content in {**files, "manifest.json": manifest}.items():
            self.s3.put_object(Bucket=self.name, Key=FOLDER + path, Body=content, Metadata={"by": "training"})
        for path in self.content().keys() - files.keys():
            self.s3.delete_object(Bucket=self.name, Key=FOLDER + path)
        return hashlib.sha256(manifest).hexdigest()[:12]

    def content(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=FOLDER).get("Contents", [])
        keys = [entry["Key"] for entry in listed if not entry["Key"].endswith("manifest.json")]
        return {key.removeprefix(FOLDER): self.s3.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def history(self, s3: Any = None) -> ModelHistory:
        return ModelHistory(s3 or self.s3, self.name, FOLDER)

    def restored(self, version: str, s3: Any = None) -> None:
        history = self.history(s3)
        history.restore(history.restoration(choose(history.read(), version)), "by the desk")


def test_a_version_is_put_back_with_a_reason_and_stays(fresh_aws: Aws, playbook: Playbook) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    bucket = Bucket(fresh_aws.client("s3"), qa.bucket)
    first, second = bucket.publish(FIRST), bucket.publish(SECOND)

    def refused(**settings: Any) -> str:
        outcome = qa(playbook=PLAYBOOK, fails=True, **settings)
        assert outcome.writes == {}
        return " ".join(outcome.output.split())

    model = {"algo_models": MODELS[0], **REASON}
    assert "Name one model" in refused(**{**model, "algo_models": ",".join(MODELS[:2])})
    assert "Give the reason" in refused(algo_models=MODELS[0], algo_version=first)
    listing = refused(**model)
    assert "The version to put back is missing" in listing
    assert listing.index(f"{second} of ") < listing.index("the present one") < listing.index(f"{first} of ")
    assert "do not match" not in listing
    damaged = next(name for name in SECOND if name in FIRST)
    bucket.s3.put_object(Bucket=bucket.name, Key=f"{FOLDER}{damaged}", Body=SECOND[damaged][::-1])
    assert f"the present one, which its files do not match ({damaged}); put it back" in refused(**model)
    qa(playbook=PLAYBOOK, **model, algo_version=second)
    assert bucket.content() == SECOND
    assert "is not one of the model" in refused(**model, algo_version="ffff00001111")
    assert "has no manifest.json" in refused(**{**model, "algo_models": "no/SUCH/model-outer_0_inner_0"})

    planned = qa("--check", "--diff", playbook=PLAYBOOK, **model, algo_version=first)
    assert planned.writes == {}
    assert "would have the version" in " ".join(planned.output.split())
    assert "+ only-first.txt" in planned.output
    assert "- only-second.txt" in planned.output
    assert bucket.content() == SECOND

    qa(playbook=PLAYBOOK, **model, algo_version=first[:6])
    assert bucket.content() == FIRST
    kept = bucket.s3.head_object(Bucket=bucket.name, Key=f"{FOLDER}manifest.json")["Metadata"]
    assert kept["by"] == "training"
    assert unquote(kept["rolled-back"]).startswith("by the desk, 20")
    assert unquote(kept["rolled-back"]).endswith(REASON["algo_reason"])

    again = qa(playbook=PLAYBOOK, **model, algo_version=first[:6])
    assert again.writes == {}
    assert "as before" in again.output
    qa(playbook=PLAYBOOK, **model, algo_version=second)
    assert bucket.content() == SECOND


class Dying:
    """A client that ends before its nth write."""

    def __init__(self, s3: Any, after: int) -> None:
        self._s3, self._left = s3, after

    def __getattr__(self, name: str) -> Any:
        if name in ("copy_object", "delete_object"):
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return getattr(self._s3, name)


@pytest.fixture
def bucket(fresh_aws: Aws) -> Bucket:
    return Bucket(fresh_aws.client("s3"))


def test_after_a_kill_at_any_write_the_manifest_is_the_old_one_and_the_next_run_finishes(bucket: Bucket) -> None:
    first, second = bucket.publish(FIRST), bucket.publish(SECOND)
    cuts = 0
    for cuts in range(99):
        try:
            bucket.restored(first, Dying(bucket.s3, cuts))
        except KeyboardInterrupt:
            assert next(each for each in bucket.history().read() if each.current).version == second
            bucket.restored(first)
            assert bucket.content() == FIRST
            bucket.restored(second)
            assert bucket.content() == SECOND
        else:
            break
    assert cuts == 5  # three files, one deletion, the manifest
    assert bucket.content() == FIRST


def test_a_model_that_was_removed_comes_back(bucket: Bucket) -> None:
    first = bucket.publish(FIRST)
    for path in (*FIRST, "manifest.json"):
        bucket.s3.delete_object(Bucket=BUCKET, Key=FOLDER + path)
    (only,) = bucket.history().read()
    assert not only.current
    bucket.restored(first)
    assert bucket.content() == FIRST


def test_a_file_that_is_gone_for_good_is_named_before_anything_is_changed(bucket: Bucket) -> None:
    first = bucket.publish(FIRST)
    bucket.publish(SECOND)
    listed = bucket.s3.list_object_versions(Bucket=BUCKET, Prefix=f"{FOLDER}weights.bin")["Versions"]
    (old,) = [each["VersionId"] for each in listed if not each["IsLatest"]]
    bucket.s3.delete_object(Bucket=BUCKET, Key=f"{FOLDER}weights.bin", VersionId=old)
    with pytest.raises(NotFound, match=r"weights\.bin is no longer there.*Nothing was changed"):
        bucket.restored(first)
    assert bucket.content() == SECOND


def test_a_bucket_without_versions_has_the_present_one_only(fresh_aws: Aws) -> None:
    bucket = Bucket(fresh_aws.client("s3"), versions=False)
    first, second = bucket.publish(FIRST), bucket.publish(SECOND)
    assert [each.version for each in bucket.history().read()] == [second]
    with pytest.raises(InvalidInput, match=f"There are: {second}"):
        bucket.restored(first)
    with pytest.raises(AlgoTradingError, match="Could not read the versions of s3://no-such-bucket"):
        ModelHistory(bucket.s3, "no-such-bucket", FOLDER).read()


def test_the_same_content_twice_is_one_version_and_files_that_stayed_are_not_copied(bucket: Bucket) -> None:
    first = bucket.publish(FIRST)
    bucket.publish({**FIRST, "model.json": b"third"})
    bucket.publish(FIRST)
    history = bucket.history()
    versions = [each.version for each in history.read()]
    assert versions[0] == first
    assert len(versions) == 2
    what = history.restoration(choose(history.read(), versions[1]))
    assert list(what.copies) == ["model.json"]
    assert not history.restoration(choose(history.read(), first)).changes


def test_a_version_is_chosen_by_its_first_digits() -> None:
    def made(version: str) -> Publication:
        from datetime import UTC, datetime

        return Publication(version, datetime(2026, 11, 25, tzinfo=UTC), "id", {}, current=False)

    both = [made("abcd11111111"), made("abcd22222222")]
    assert choose(both, "ABCD1") is both[0]
    for version, why in (("abcd", "Several versions begin"), ("abc", "is not one"), ("", "is missing")):
        with pytest.raises(InvalidInput, match=why):
            choose(both, version)
