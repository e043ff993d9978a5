"""The lookup algo.trading.s3_models as playbooks use it, and what it costs, against a real S3 server."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from ansible_collections.algo.trading.plugins.module_utils.models import Listing, list_models
from botocore.config import Config

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Playbook, Run

BUCKET = "algo-model-deploy-test"
KEYS = (
    "models/momentum/AAPL/sma-outer_0_inner_0/model.json",
    "models/momentum/AAPL/sma-outer_0_inner_0/metrics.json",
    "models/momentum/AAPL/sma-outer_0_inner_1.tar.gz",
    "models/momentum/MSFT/sma-outer_1_inner_0/model.json",
    "models/mean_reversion/MSFT/zscore-outer_0_inner_0/model.json",
)

Look = Callable[..., Any]


@pytest.fixture
def published(fresh_aws: Aws) -> Aws:
    s3 = fresh_aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for key in KEYS:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    fresh_aws.forget_calls()
    return fresh_aws


@pytest.fixture
def look(playbook: Playbook, tmp_path: Path) -> Look:
    """`look("'bucket', type='x'", …)` evaluates each expression in one real run: its entries, or its error."""

    def run(*calls: str, env: dict[str, str | None] | None = None) -> tuple[list[Any], Run]:
        outcome = tmp_path / "outcome.json"
        steps: list[dict[str, Any]] = [
            {
                "name": f"Look {number}",
                "ansible.builtin.set_fact": {f"found_{number}": f"{{{{ query('algo.trading.s3_models', {call}) }}}}"},
                "ignore_errors": True,
                "register": f"step_{number}",
            }
            for number, call in enumerate(calls)
        ]
        names = ", ".join(f"step_{number}" for number in range(len(calls)))
        steps.append(
            {
                "name": "Keep",
                "ansible.builtin.copy": {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(outcome)},
            }
        )
        path = tmp_path / "look.yml"
        path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": steps}]))
        environment = {"ANSIBLE_STDOUT_CALLBACK": "default", **(env or {})}
        done = playbook("-i", "localhost,", "-c", "local", path, check=True, env=environment)
        results = json.loads(outcome.read_text())
        return [
            step["msg"] if step.get("failed") else step["ansible_facts"][f"found_{number}"]
            for number, step in enumerate(results)
        ], done

    return run


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in entries]


def test_one_entry_per_model_with_all_that_a_fleet_needs(published: Aws, look: Look) -> None:
    (found,), run = look(f"'{BUCKET}'")
    assert names(found) == [
        "mean_reversion/MSFT/zscore-outer_0_inner_0",
        "momentum/AAPL/sma-outer_0_inner_0",
        "momentum/AAPL/sma-outer_0_inner_1",
        "momentum/MSFT/sma-outer_1_inner_0",
    ]
    entry = found[1]
    assert {key: entry[key] for key in ("key", "type", "symbol", "model", "outer", "inner", "bucket", "uri")} == {
        "key": "models/momentum/AAPL/sma-outer_0_inner_0",
        "type": "momentum",
        "symbol": "AAPL",
        "model": "sma",
        "outer": 0,
        "inner": 0,
        "bucket": BUCKET,
        "uri": f"s3://{BUCKET}/models/momentum/AAPL/sma-outer_0_inner_0/",
    }
    assert (entry["objects"], entry["size"], entry["status"]) == (2, len(KEYS[0]) + len(KEYS[1]), "published")
    assert found[2]["uri"] == f"s3://{BUCKET}/models/momentum/AAPL/sma-outer_0_inner_1.tar.gz"
    assert BUCKET not in run.stderr
    assert published.count() == {"s3:ListObjectsV2": 1}


def test_options_choose_among_models_and_buckets(published: Aws, look: Look) -> None:
    s3 = published.client("s3")
    s3.create_bucket(Bucket="other")
    s3.put_object(Bucket="other", Key="v2/AAPL/momentum.sma.3.4.zip", Body=b"x")
    s3.put_object(Bucket="other", Key=KEYS[0], Body=b"x")
    layout = r"v2/(?P<symbol>\w+)/(?P<type>\w+)\.(?P<model>\w+)\.(?P<outer>\d+)\.(?P<inner>\d+)"
    (by_type, by_all, nothing, two, own, by_prefix), _ = look(
        f"'{BUCKET}', type='mean_reversion'",
        f"'{BUCKET}', types=['momentum', 'mean_reversion'], symbol=['MSFT'], model=['sma']",
        f"'{BUCKET}', symbol='NONE'",
        f"['{BUCKET}', 'other']",
        f"'other', prefix='v2/', pattern='{layout}'",
        f"'{BUCKET}', prefix='models/momentum/MSFT/'",
    )
    assert names(by_type) == ["mean_reversion/MSFT/zscore-outer_0_inner_0"]
    assert names(by_all) == names(by_prefix) == ["momentum/MSFT/sma-outer_1_inner_0"]
    assert nothing == []
    assert [entry["bucket"] for entry in two] == [BUCKET] * 4 + ["other"]
    assert [(entry["name"], entry["key"]) for entry in own] == [
        ("momentum/AAPL/sma-outer_3_inner_4", "v2/AAPL/momentum.sma.3.4.zip")
    ]


def test_keys_that_fit_no_model_are_reported_as_asked(published: Aws, look: Look) -> None:
    for number in range(7):
        published.client("s3").put_object(Bucket=BUCKET, Key=f"models/momentum/notes-{number}.txt", Body=b"x")
    (warned, ignored, failed, mistaken), run = look(
        f"'{BUCKET}'",
        f"'{BUCKET}', on_invalid='ignore'",
        f"'{BUCKET}', on_invalid='error'",
        f"'{BUCKET}', on_invalid='?'",
    )
    assert warned == ignored
    assert len(warned) == 4
    said = " ".join(run.stderr.split())
    assert said.count(f"The bucket {BUCKET} holds 7 key(s) that are not models") >= 1
    assert "models/momentum/notes-0.txt" in said
    assert "and 2 more" in said
    assert "holds 7 key(s)" in failed
    assert "adapt the options pattern and prefix" in failed
    assert "on_invalid" in mistaken


def test_a_version_follows_its_own_files(published: Aws, look: Look) -> None:
    s3 = published.client("s3")
    (before,), _ = look(f"'{BUCKET}'")
    s3.put_object(Bucket=BUCKET, Key=KEYS[1], Body=b"changed")
    s3.put_object(Bucket=BUCKET, Key=KEYS[3], Body=KEYS[3].encode())  # The same bytes again.
    (after,), _ = look(f"'{BUCKET}'")
    changed = [new["name"] for old, new in zip(before, after, strict=True) if old["version"] != new["version"]]
    assert changed == ["momentum/AAPL/sma-outer_0_inner_0"]


def test_a_model_in_publication_is_marked_and_warned_of(published: Aws, look: Look) -> None:
    (found,), run = look(f"'{BUCKET}', require_manifest=true")
    assert {entry["name"]: entry["status"] for entry in found} == {
        "mean_reversion/MSFT/zscore-outer_0_inner_0": "publishing",
        "momentum/AAPL/sma-outer_0_inner_0": "publishing",
        "momentum/AAPL/sma-outer_0_inner_1": "published",
        "momentum/MSFT/sma-outer_1_inner_0": "publishing",
    }
    assert f"3 model(s) in the bucket {BUCKET} are being published" in " ".join(run.stderr.split())


def test_every_failure_names_the_bucket_and_the_remedy(published: Aws, look: Look, tmp_path: Path) -> None:
    with elsewhere() as endpoint:
        (missing, no_bucket, slashes, unreachable, profile, role, moved, twins_before), _ = look(
            "'algo-nowhere'",
            "[]",
            f"'s3://{BUCKET}/models'",
            f"'{BUCKET}', endpoint_url='http://127.0.0.1:9'",
            f"'{BUCKET}', profile='nobody', access_key='', secret_key=''",
            f"'{BUCKET}', assume_role_arn='no-role'",
            f"'{BUCKET}', endpoint_url='{endpoint}'",
            f"'{BUCKET}'",
        )
    assert "Could not list the bucket algo-nowhere" in missing
    assert "Create the bucket" in missing
    assert "at least one bucket" in no_bucket
    assert "Give the bucket name only" in slashes
    assert f"list the bucket {BUCKET}" in unreachable
    assert "embedded AWS" in unreachable
    assert BUCKET in profile
    assert "nobody" in profile
    assert f"list the bucket {BUCKET}: Could not assume the role no-role" in role
    assert f"list the bucket {BUCKET}" in moved
    assert "Set the region to eu-west-1" in moved
    assert len(twins_before) == 4


def test_no_credentials_is_said_with_the_bucket(published: Aws, look: Look) -> None:
    (failed,), _ = look(f"'{BUCKET}'", env={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    assert f"Could not list the bucket {BUCKET}: Unable to locate credentials" in failed
    assert "Log in again" in failed


def test_denied_access_is_said_with_the_permission_that_is_missing(published: Aws, look: Look) -> None:
    iam = published.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    enforce_permissions(published, True)
    try:
        (denied, unknown), _ = look(
            f"'{BUCKET}', access_key='{key['AccessKeyId']}', secret_key='{key['SecretAccessKey']}'", f"'{BUCKET}'"
        )
    finally:
        enforce_permissions(published, False)
    assert f"Could not list the bucket {BUCKET}" in denied
    assert f"Allow s3:ListBucket on arn:aws:s3:::{BUCKET}" in denied
    assert f"Could not list the bucket {BUCKET}" in unknown
    assert "Log in again" in unknown


def enforce_permissions(aws: Aws, on: bool) -> None:
    body = b"0" if on else b"inf"
    headers = {"Content-Type": "text/plain"}  # or the server takes the body for a form
    request = urllib.request.Request(f"{aws.endpoint}/moto-api/reset-auth", data=body, headers=headers, method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60):
        pass


def test_a_role_is_assumed_before_the_bucket_is_listed(published: Aws, look: Look) -> None:
    iam = published.client("iam")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    arn = iam.create_role(RoleName="model-reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    may = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "arn:aws:s3:::*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_role_policy(RoleName="model-reader", PolicyName="read", PolicyDocument=document)
    published.forget_calls()
    (found,), _ = look(f"'{BUCKET}', assume_role_arn='{arn}'")
    assert len(found) == 4
    calls = published.calls()
    assert [call.operation for call in calls] == ["AssumeRole", "ListObjectsV2"]
    assert calls[0].access_key != calls[1].access_key


def test_ansible_doc_teaches_it(aws: Aws) -> None:
    command = [str(Path(sys.executable).parent / "ansible-doc"), "-t", "lookup", "algo.trading.s3_models", "--json"]
    done = subprocess.run(command, env=aws.env, capture_output=True, text=True, check=True)
    doc = json.loads(done.stdout)["algo.trading.s3_models"]
    assert {"_terms", "prefix", "pattern", "on_invalid", "profile", "region", "endpoint_url", "assume_role_arn"} <= set(
        doc["doc"]["options"]
    )
    assert doc["examples"].count("- name:") >= 6
    assert set(doc["return"]["_list"]["contains"]) >= {"name", "uri", "version", "size", "objects", "last_modified"}


class elsewhere:
    """An S3 endpoint that answers as one does for a bucket of another region, in a way botocore can't follow."""

    def __enter__(self) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b"<Error><Code>IllegalLocationConstraintException</Code><Message>elsewhere</Message></Error>"
                self.send_response(400)
                self.send_header("x-amz-bucket-region", "eu-west-1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


# What it costs. Buckets are filled through the server's own storage, since 10,000 uploads take long; they are
# listed over HTTP.


class Costs:
    def __init__(self, endpoint: str) -> None:
        session: Any = boto3.session.Session()
        self.s3 = session.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(proxies={}),
        )
        self.asked: list[str] = []
        self.s3.meta.events.register("before-call.s3", self._count)
        self.s3.create_bucket(Bucket=BUCKET)

    def _count(self, model: Any, **_: Any) -> None:
        self.asked.append(model.name)

    def fill(self, folder: str, objects: int, with_manifest: bool = False) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        files = [f"part-{number:06}" for number in range(objects)]
        for file in files:
            backend.put_object(BUCKET, f"models/{folder}/{file}", file.encode())
        if with_manifest:
            body = json.dumps({"files": [{"path": file, "size": len(file)} for file in files]})
            backend.put_object(BUCKET, f"models/{folder}/manifest.json", body.encode())

    def listed(self, **options: Any) -> tuple[Listing, int, int]:
        self.asked.clear()
        found = list_models(self.s3, BUCKET, **options)
        return found, self.asked.count("ListObjectsV2"), self.asked.count("GetObject")

    def flat(self) -> int:
        pages = list(self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="models/"))
        assert len(pages) == max(1, math.ceil(sum(page["KeyCount"] for page in pages) / 1000))
        return len(pages)


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Costs]:
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Costs(f"http://{host}:{port}")
    server.stop()
    s3_backends.reset()


def test_a_model_of_ten_thousand_objects_costs_two_pages(costs: Costs) -> None:
    costs.fill("momentum/AAPL/huge-outer_0_inner_0", 10_000, with_manifest=True)
    found, pages, reads = costs.listed()
    assert (pages, reads, costs.flat()) == (2, 1, 11)
    assert [(model.objects, model.status) for model in found.models] == [(10_001, "published")]

    costs.fill("momentum/AAPL/huger-outer_0_inner_0", 4_000)
    costs.fill("momentum/AAPL/tiny-outer_0_inner_0", 2)
    found, pages, reads = costs.listed()
    assert (pages, reads, costs.flat()) == (3, 2, 15)
    assert [(model.objects, model.status) for model in found.models] == [
        (10_001, "published"),
        (1_000, "partial"),
        (2, "published"),
    ]


def test_many_small_models_cost_what_a_flat_listing_costs(costs: Costs) -> None:
    for number in range(800):
        costs.fill(f"momentum/S{number % 40}/m{number}-outer_0_inner_0", 4)
    found, pages, reads = costs.listed()
    assert (len(found.models), pages, reads, costs.flat()) == (800, 4, 0, 4)
    assert {model.objects for model in found.models} == {4}


def test_models_that_end_just_across_page_boundaries_cost_no_page_more(costs: Costs) -> None:
    """The worst case for jumps: each saves nothing, since the model ends right behind the boundary."""
    for number, objects in enumerate((999, 1002, 998, 2001, 1, 1999, 1000, 1000, 1001)):
        costs.fill(f"momentum/AAPL/m{number}-outer_0_inner_0", objects)
    found, pages, reads = costs.listed()
    assert pages <= costs.flat() == 11
    assert reads <= pages
    assert len(found.models) == 9
    exact, pages, reads = costs.listed(exact=True)
    assert (pages, reads) == (11, 0)
    assert [model.objects for model in exact.models] == [999, 1002, 998, 2001, 1, 1999, 1000, 1000, 1001]


def test_a_large_model_that_was_copied_is_judged_by_its_content(costs: Costs) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    folder = "models/momentum/AAPL/huge-outer_0_inner_0"
    costs.fill("momentum/AAPL/huge-outer_0_inner_0", 1_200)
    names = [f"part-{number:06}" for number in range(1_200)]
    files = [{"path": name, "size": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in names]
    backend.put_object(BUCKET, f"{folder}/manifest.json", json.dumps({"files": files}).encode())
    # As after a copy in the order of keys: some parts were written after the manifest.
    for name in ("part-000995", "part-001100", "part-001199"):
        backend.put_object(BUCKET, f"{folder}/{name}", name.encode()).last_modified += timedelta(minutes=1)
    found, pages, reads = costs.listed()
    assert [(model.objects, model.status) for model in found.models] == [(1_201, "published")]
    # The listing and the manifest's totals, then the manifest, all files and those that are newer.
    assert (pages, reads) == (4, 5)
    # Another part of the same size, whose manifest is still to come.
    changed = backend.put_object(BUCKET, f"{folder}/part-001100", b"PART-001100")
    changed.last_modified += timedelta(minutes=1)
    found, _pages, _reads = costs.listed()
    assert [model.status for model in found.models] == ["publishing"]
