# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules for one AWS resource have in common: what a call answers or raises, and what becomes of tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("botocore", reason="the calls are botocore's")

import boto3
from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.algo.trading.plugins.module_utils.aws_module import ModuleApi, change_tags, tag_change
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from botocore.exceptions import ClientError
from botocore.stub import Stubber

CURRENT = {"Project": "algo-trading", "aws:createdBy": "x"}


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client("ssm", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def api(stub: Stubber) -> ModuleApi:
    return ModuleApi(RetryingBotoClientWrapper(stub.client, AWSRetry.jittered_backoff(retries=1)), "InvalidDocument")


@pytest.mark.parametrize(
    ("tags", "purge", "after", "to_set", "to_remove"),
    [
        (None, True, CURRENT, {}, []),
        ({"Owner": "desk"}, False, {**CURRENT, "Owner": "desk"}, {"Owner": "desk"}, []),
        # Tags of AWS's own are not ours to remove.
        ({"Owner": "desk"}, True, {"aws:createdBy": "x", "Owner": "desk"}, {"Owner": "desk"}, ["Project"]),
        ({"Project": "algo-trading"}, True, CURRENT, {}, []),
        ({}, True, {"aws:createdBy": "x"}, {}, ["Project"]),
    ],
)
def test_tags_become_what_the_options_say(
    tags: dict[str, str] | None, purge: bool, after: dict[str, str], to_set: dict[str, str], to_remove: list[str]
) -> None:
    change = tag_change(CURRENT, {"tags": tags, "purge_tags": purge})
    assert (change.after, change.to_set, change.to_remove) == (after, to_set, to_remove)
    assert change.changed == (after != CURRENT)


def test_a_resource_that_is_not_there_is_found_to_be_none_and_is_no_error_to_delete(
    api: ModuleApi, stub: Stubber
) -> None:
    for method in ("get_document", "delete_document"):
        stub.add_client_error(method, "InvalidDocument")
    assert api.find("get_document", "read it", Name="x") is None
    assert api.delete("delete_document", "delete it", Name="x") is False


@pytest.mark.parametrize("way", ["call", "find", "delete"])
def test_every_other_refusal_says_what_was_tried(api: ModuleApi, stub: Stubber, way: str) -> None:
    stub.add_client_error("get_document", "AccessDeniedException", "no")
    with pytest.raises(AnsibleAWSError, match=r"^Failed to read document x: .*AccessDeniedException"):
        getattr(api, way)("get_document", "read document x", Name="x")


def test_what_is_missing_is_an_error_where_it_is_called_for(api: ModuleApi, stub: Stubber) -> None:
    stub.add_client_error("get_document", "InvalidDocument")
    with pytest.raises(AnsibleAWSError, match=r"^Failed to read document x: "):
        api.call("get_document", "read document x", Name="x")


def test_other_codes_can_be_expected_for_one_call(api: ModuleApi, stub: Stubber) -> None:
    for code in ("DuplicateDocumentContent", "InvalidDocument"):
        stub.add_client_error("update_document", code)
    update: dict[str, Any] = {"doing": "update it", "Name": "x", "Content": "{}"}
    assert api.unless("DuplicateDocumentContent").find("update_document", **update) is None
    with pytest.raises(AnsibleAWSError):
        api.unless("DuplicateDocumentContent").find("update_document", **update)


def test_outside_of_modules_errors_stay_botocores(stub: Stubber) -> None:
    for code in ("InvalidDocument", "AccessDeniedException"):
        stub.add_client_error("get_document", code)
    plain = Api(stub.client, "InvalidDocument")
    assert plain.find("get_document", "read it", Name="x") is None
    with pytest.raises(ClientError):
        plain.find("get_document", "read it", Name="x")


def test_only_what_differs_is_tagged(api: ModuleApi, stub: Stubber) -> None:
    which = {"ResourceType": "Document", "ResourceId": "x"}
    methods = ("remove_tags_from_resource", "add_tags_to_resource")
    change_tags(api, "x", tag_change(CURRENT, {"tags": None, "purge_tags": True}), methods=methods, **which)
    stub.add_response(methods[0], {}, {**which, "TagKeys": ["Project"]})
    stub.add_response(methods[1], {}, {**which, "Tags": [{"Key": "Count", "Value": "5"}]})
    change_tags(api, "x", tag_change(CURRENT, {"tags": {"Count": 5}, "purge_tags": True}), methods=methods, **which)
