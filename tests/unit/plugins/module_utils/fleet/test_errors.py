# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refusals are told apart by their code, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet import errors


class Refused(Exception):
    def __init__(self, code: str, message: str = "m", status: int = 400) -> None:
        super().__init__(message)
        self.response: dict[str, Any] = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("RequestLimitExceeded", errors.THROTTLED),
        ("Throttling", errors.THROTTLED),
        ("InsufficientInstanceCapacity", errors.CAPACITY),
        ("Unsupported", errors.CAPACITY),
        ("InsufficientFreeAddressesInSubnet", errors.SUBNET_FULL),
        ("VcpuLimitExceeded", errors.QUOTA),
        ("UnauthorizedOperation", errors.DENIED),
        ("InvalidAMIID.NotFound", errors.PARAMETER),
        ("MissingParameter", errors.PARAMETER),
        ("InvalidInstanceID.NotFound", errors.NOT_FOUND),
        ("IdempotentParameterMismatch", errors.IDEMPOTENCY),
        ("InternalError", errors.TRANSIENT),
        ("Server.InsufficientInstanceCapacity", errors.CAPACITY),
        ("Server.RequestLimitExceeded", errors.THROTTLED),
        ("Client.VolumeLimitExceeded", errors.QUOTA),
        ("SomethingNew", errors.UNKNOWN),
    ],
)
def test_each_code_has_its_meaning(code: str, kind: str) -> None:
    assert errors.kind_of_code(code) == kind
    error = errors.classify("RunInstances", Refused(code))
    assert error.kind == kind
    # What was tried, what AWS said, what to do.
    text = error.explain("launch instances")
    assert "launch instances" in text
    assert code in text
    assert errors.ADVICE[kind] in text


def test_a_protected_instance_is_not_a_lack_of_permission() -> None:
    protected = Refused("OperationNotPermitted", "The instance 'i-1' may not be terminated. Modify its attribute")
    assert errors.classify("TerminateInstances", protected).kind == errors.PROTECTED
    assert errors.classify("RunInstances", Refused("OperationNotPermitted", "no")).kind == errors.DENIED


def test_a_front_end_without_ec2_vocabulary_is_understood_by_its_status() -> None:
    assert errors.classify("X", Refused("502", status=502)).kind == errors.TRANSIENT
    assert errors.classify("X", Refused("429", status=429)).kind == errors.THROTTLED


def test_a_broken_connection_may_be_tried_again() -> None:
    kind = errors.classify("X", ConnectionResetError("gone")).kind
    assert kind in errors.RETRYABLE


def test_refusals_inside_an_answer_are_found_and_told_apart() -> None:
    answer = {
        "Instances": [],
        "Errors": [{"ErrorCode": "RequestLimitExceeded", "ErrorMessage": "slow down"}],
        "Unsuccessful": [{"ResourceId": "i-1", "Error": {"Code": "InsufficientInstanceCapacity", "Message": "none"}}],
    }
    found = errors.partial_errors("CreateFleet", answer)
    assert [(item, error.kind) for item, error in found] == [("", errors.THROTTLED), ("i-1", errors.CAPACITY)]
