# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Lambda handles asynchronous invocations: one function per API call."""

from __future__ import annotations

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError


class AnsibleEventInvokeError(AnsibleAWSError):
    """What the functions here raise; the module turns it into fail_json."""


class EventInvokeErrorHandler(AWSErrorHandler):
    """Name the action in plain words when a call fails."""

    _CUSTOM_EXCEPTION = AnsibleEventInvokeError

    @classmethod
    def _is_missing(cls) -> type[Exception]:
        missing: type[Exception] = is_boto3_error_code("ResourceNotFoundException")
        return missing


def _which(name: str, qualifier: str | None) -> dict[str, str]:
    return {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}


def get_config(client: Any, name: str, qualifier: str | None) -> dict[str, Any] | None:
    """The configuration as AWS describes it, None where it (or its function) does not exist."""
    get = EventInvokeErrorHandler.list_error_handler(f"read the asynchronous invocation settings of {name}")
    response: dict[str, Any] | None = get(client.get_function_event_invoke_config)(
        aws_retry=True, **_which(name, qualifier)
    )
    return response


def put_config(client: Any, name: str, qualifier: str | None, wanted: dict[str, Any]) -> None:
    """Set the whole configuration."""
    destinations = {
        field: {"Destination": wanted[option]}
        for option, field in (("on_failure", "OnFailure"), ("on_success", "OnSuccess"))
        if wanted[option]
    }
    put = EventInvokeErrorHandler.common_error_handler(f"set the asynchronous invocation settings of {name}")
    put(client.put_function_event_invoke_config)(
        aws_retry=True,
        MaximumRetryAttempts=wanted["maximum_retry_attempts"],
        MaximumEventAgeInSeconds=wanted["maximum_event_age_in_seconds"],
        DestinationConfig=destinations,
        **_which(name, qualifier),
    )


def delete_config(client: Any, name: str, qualifier: str | None) -> bool:
    """Delete the configuration; False if it no longer exists."""
    delete = EventInvokeErrorHandler.deletion_error_handler(f"reset the asynchronous invocation settings of {name}")
    return bool(delete(client.delete_function_event_invoke_config)(aws_retry=True, **_which(name, qualifier)))
