# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module and the function make the same plan, for arbitrary settings, models, instances and times.

Both go their own way from the same variables of the role: the play's filter, lookup and module here; the parameter's
text, the function's listing and the function there. Only AWS's clients are stand-ins, so that no example makes a call.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.loader import lookup_loader
from ansible_collections.algo.trading.plugins.filter.fleet import fleet_document, fleet_parameter
from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import argument_spec
from ansible_collections.algo.trading.plugins.module_utils.fleet.desired import desired_servers
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import DIFFERENCES
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import MODULE
from ansible_collections.algo.trading.plugins.modules import model_fleet

hypothesis = pytest.importorskip("hypothesis", reason="property tests need hypothesis")
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "lambda"))
from trading_day import events
from trading_day import fleet as function
from trading_day.report import Log
from trading_day.settings import Settings

OWNER, HALT = "123456789012", "/p/e/halt"
FOLDS = r"(?P<outer>\d+)_inner_(?P<inner>\d+)"
SECOND = r"v2/(?P<symbol>\w+)/(?P<type>\w+)\.(?P<model>\w+)-outer_" + FOLDS
NAMES = tuple((kind, symbol, f"m{number}") for kind in "ab" for symbol in "XY" for number in range(2))
MONDAY = datetime(2025, 6, 2, tzinfo=UTC)


class Refusal(Exception):
    """Shaped as botocore's ClientError is."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class Buckets:
    """S3 with one bucket, which belongs to OWNER."""

    meta = SimpleNamespace(region_name="us-east-1")

    def __init__(self, keys: Mapping[str, int]) -> None:
        self.keys = keys

    def list_objects_v2(self, *, Prefix: str, StartAfter: str = "", **more: Any) -> dict[str, Any]:
        if more.get("ExpectedBucketOwner", OWNER) != OWNER:
            raise Refusal("AccessDenied")
        found = sorted(key for key in self.keys if key.startswith(Prefix) and key > StartAfter)
        contents = [
            {
                "Key": key,
                "Size": 1,
                "ETag": f"{key}{self.keys[key]}",
                "LastModified": MONDAY + timedelta(self.keys[key]),
            }
            for key in found
        ]
        return {"Contents": contents, "IsTruncated": False}


class Fixed:
    """EC2's and SSM's answers, and a clock that stands still. Nothing else may be asked for in a plan."""

    def __init__(self, instances: list[dict[str, Any]], halt: str | None, now: datetime) -> None:
        self.instances, self.halt, self._now = instances, halt, now

    def describe_instances(self, **_: Any) -> dict[str, Any]:
        return {"Reservations": [{"Instances": self.instances}]}

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        if Name == HALT and self.halt is None:
            raise Refusal("ParameterNotFound")
        return {"Parameter": {"Value": self.halt}}

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a plan waits for nothing")

    def now(self) -> datetime:
        return self._now


def some(*values: str) -> st.SearchStrategy[list[str]]:
    """A filter, which is empty more often than not: else nothing would be left to plan for."""
    return st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(values), max_size=2))


filters = {"types": some("a", "b"), "symbols": some("X", "Y"), "models": some("m0", "m1")}
texts: Any = st.text(max_size=8)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
windows = st.sampled_from(("09:30", "16:00", "18:00", "02:00", "00:00"))
# As the role's variables hold them: some in the types of YAML, some as text from the command line, some left empty.
role_options = st.fixed_dictionaries(
    {
        "project": st.just("p"),
        "environment": st.just("e"),
        "source": st.fixed_dictionaries(
            {
                "bucket": st.just("bucket"),
                "owner": st.sampled_from(("", OWNER, OWNER, OWNER, OWNER, "999999999999")),
                "pattern": st.sampled_from(("", "", SECOND)),
                "on_invalid": st.sampled_from(("warn", "error", "ignore", "")),
                "require_manifest": st.sampled_from((False, "no", "yes", True)),
                **filters,
            },
        ),
        "image_id": st.sampled_from(("ami-1", "ami-2")),
        "instance_types": st.sampled_from((["t3.nano", "t3.micro"], ["m7g.large"])),
        "subnet_ids": st.just(["subnet-a", "subnet-b"]),
        "halt_parameter": st.just(HALT),
        "power": st.sampled_from(("running", "keep", "keep", "stopped", "")),
    },
    optional={
        "configuration": st.dictionaries(texts, json_values, max_size=2),
        "user_data": st.sampled_from(("", "#!/bin/sh\necho {{ up }}\n")),
        "tags": st.dictionaries(st.sampled_from(("Team", "Cost")), st.integers(1, 2) | st.just("x")),
        "overrides": st.just([{"symbol": "X", "configuration": {"more": 1}, "market": "spot"}]),
        "selection": st.fixed_dictionaries({}, optional=filters),
        "on_change": st.fixed_dictionaries(
            {},
            optional={
                "version": st.sampled_from(("restart", "reconfigure", "replace", "ignore")),
                "image": st.sampled_from(("replace", "ignore")),
                "instance_type": st.sampled_from(("replace", "restart", "ignore")),
                "configuration": st.sampled_from(("replace", "restart", "reconfigure", "ignore")),
            },
        ),
        "replace": st.fixed_dictionaries({"batch_size": st.sampled_from((1, "5")), "surge": st.booleans()}),
        "session": st.just({})
        | st.fixed_dictionaries({"open": windows, "close": windows}).filter(lambda it: it["open"] != it["close"]),
        "calendar": st.sampled_from(({}, {"exchange": "XNYS"}, {"closed": ["2026-12-01"]})),
        "max_terminate_share": st.sampled_from((0, 0.5, 1, "0.3")),
        "protect_tags": st.sampled_from(({}, {"Keep": True})),
        "claim_grace": st.sampled_from((0, "60")),
        "root_volume": st.sampled_from(({}, {"size": "20"})),
    },
)


@st.composite
def keys(draw: st.DrawFn) -> dict[str, int]:
    found = {}
    for kind, symbol, model in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True)):
        folder = f"models/{kind}/{symbol}/{model}-outer_0_inner_0"
        second = f"v2/{symbol}/{kind}.{model}-outer_0_inner_0"
        for place in draw(st.lists(st.sampled_from((folder, second)), min_size=1, max_size=2, unique=True)):
            found[f"{place}/model.bin"] = draw(st.integers(0, 1))
            if draw(st.booleans()):
                found[f"{place}/manifest.json"] = draw(st.integers(0, 1))
    if draw(st.integers(0, 9)) == 0:
        found["models/odd"] = 0
    return found


@st.composite
def instances(
    draw: st.DrawFn, document: Mapping[str, Any], bucket: Mapping[str, int], now: datetime
) -> list[dict[str, Any]]:
    # Mostly servers of models that are there, as the settings want them: else every plan would only create.
    there = [
        claim for claim in NAMES if any("/".join(claim) in key or f"{claim[1]}/{claim[0]}." in key for key in bucket)
    ]
    identity = {"Project": "p", "Environment": "e", "Component": "trading_server", "ManagedBy": "algo.trading"}
    model = {"name": "a/X/m0-outer_0_inner_0", "type": "a", "symbol": "X", "model": "m0"}
    unfiltered = {**document, "source": {}}
    [server] = desired_servers(FleetSettings.from_dict(unfiltered), [model])
    digests = st.sampled_from((server.spec.config_digest, server.spec.config_digest, "other"))
    launches = st.sampled_from((server.spec.launch_digest, server.spec.launch_digest, "other"))
    found = []
    for number in range(draw(st.integers(0, 5))):
        tags = {**identity, "ConfigDigest": draw(digests), "LaunchDigest": draw(launches)}
        claim = draw(st.sampled_from((None, *NAMES[:2], *there, *there, *there)))
        if claim:
            kind, symbol, name = claim
            tags |= {"Model": f"{kind}/{symbol}/{name}-outer_0_inner_0", "ModelType": kind, "Symbol": symbol}
            tags |= {"ModelName": name, "ModelVersion": draw(st.sampled_from(("v1", "v2")))}
        if draw(st.integers(0, 6)) == 0:
            tags["Keep"] = "true"
        found.append(
            {
                "InstanceId": f"i-{number:08x}",
                "State": {"Name": draw(st.sampled_from(("pending", "running", "stopping", "stopped", "stopped")))},
                "InstanceType": draw(st.sampled_from((*document["instance_types"], "t3.nano", "m7g.large"))),
                "ImageId": draw(st.sampled_from((document["image_id"], document["image_id"], "ami-1", "ami-2"))),
                "SubnetId": draw(st.sampled_from(("subnet-a", "subnet-c"))),
                "InstanceLifecycle": draw(st.sampled_from(("", "", "spot"))),
                "LaunchTime": now - timedelta(seconds=draw(st.sampled_from((5, 100, 90000)))),
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        )
    return found


def module_plan(options: Mapping[str, Any], s3: Any, aws: Fixed, once: Mapping[str, Any]) -> Any:
    """As the play does it: the filter, the lookup with the document's source, the module with the document."""
    document = fleet_document(options)
    source = {name: value for name, value in document["source"].items() if name != "bucket"}
    lookup = lookup_loader.get("algo.trading.s3_models")
    lookup._s3 = lambda: s3
    models = lookup.run([document["source"]["bucket"]], {}, **source, region="us-east-1")
    result = ArgumentSpecValidator(argument_spec(MODULE)).validate({**document, "models": models, "once": dict(once)})
    assert not result.error_messages
    params = {name: result.validated_parameters.get(name) for name in MODULE}
    _settings, done = model_fleet.run(params, lambda service, **_: aws, aws, check=True)
    if done.failed:
        raise FleetError(done.message)
    return [line.as_dict() for line in done.plan.lines], done.held, done.halt


def function_plan(options: Mapping[str, Any], s3: Any, aws: Fixed) -> Any:
    """As the function does it: the parameter's text, its own listing, its own clients."""
    stored = fleet_parameter(fleet_document(options))
    parameters = SimpleNamespace(
        get_parameter=lambda Name: aws.get_parameter(Name=Name) if Name == HALT else {"Parameter": {"Value": stored}}
    )
    settings = Settings.from_env("trading_server", {"PROJECT": "p", "ENVIRONMENT": "e"})
    clients = function.Aws(aws, s3, parameters, lambda: None, lambda: None)
    request = events.Request("start", dry_run=True)
    answer = function.run(settings, request, clients, aws, Log(settings, io.StringIO()), 100.0)
    halt = answer["reason"] if answer["reason"].startswith("trading is halted") else ""
    return answer["plan"], answer["held"], halt


def outcome(plan: Callable[[], Any]) -> Any:
    """The plan, or that there is none. Both word a refusal for their own readers."""
    try:
        return plan()
    except (AnsibleError, AlgoTradingError, FleetError) as error:
        return f"refused: {'guard' if 'max_terminate_share' in str(error) else 'input'}"


@examples(max_examples=150, deadline=None)
@given(st.data(), role_options, keys(), st.sampled_from(("false", "false", "off", "no", "true", None)))
def test_module_and_function_make_the_same_plan(
    data: st.DataObject, options: dict[str, Any], bucket: dict[str, int], halt: str | None
) -> None:
    now = MONDAY + timedelta(minutes=data.draw(st.integers(0, 7 * 24 * 60), label="minutes"))
    document = fleet_document(options)
    aws = Fixed(data.draw(instances(document, bucket, now), label="instances"), halt, now)
    once = {item.option: item.function for item in DIFFERENCES if document[item.option] == item.module}
    ours = outcome(lambda: module_plan(options, Buckets(bucket), aws, once))
    assert outcome(lambda: function_plan(options, Buckets(bucket), aws)) == ours
