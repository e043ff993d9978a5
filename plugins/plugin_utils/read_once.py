# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answer a module's repeated question from what AWS answered the first time.

Modules of amazon.aws look again at what they have just looked at: one function after the other fetches the same
resource. An answer holds until the module writes anything, or waits: then something may be different. What the run has
just found absent, they need not look for either.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.algo.trading.plugins.plugin_utils.call_guard import is_read


class ReadOnce:
    """The answers that one module run has had since it last wrote or waited."""

    def __init__(self, absent: Mapping[str, Any] | None = None) -> None:
        """In the parent of the module's process: a fork that visits everything that is loaded copies it.

        :param absent: answers, or codes of errors, by operation, which hold until the module writes or waits.
        """
        self._answers: dict[str, Any] = {}
        self._absent = dict(absent or {})
        # Those that carried out `from time import sleep` when they were loaded.
        self._waiting = [
            vars(module)
            for name, module in sys.modules.items()
            if name.startswith("ansible_collections.") and vars(module).get("sleep") is time.sleep
        ]

    def install(self) -> None:
        """Look at every call that botocore makes in this process from here on, and at every pause."""
        from botocore.client import BaseClient

        call, sleep = BaseClient._make_api_call, time.sleep  # type: ignore[attr-defined]  # the stubs leave it out

        def once(client: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
            if operation in self._absent:
                return _answer_of(client, operation, self._absent[operation])
            where = (client.meta.service_model.service_name, client.meta.endpoint_url)
            return self.ask(where, operation, arguments, lambda: call(client, operation, arguments))

        def pause(seconds: Any, /) -> None:
            self._forget()
            sleep(seconds)

        BaseClient._make_api_call = once  # type: ignore[attr-defined]  # likewise
        time.sleep = pause
        for names in self._waiting:
            names["sleep"] = pause

    def ask(self, where: tuple[str, str], operation: str, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make a call, or give the answer that the same one has had. An error is no answer."""
        if not is_read(operation):
            self._forget()
            try:
                return call()
            finally:
                self._answers.clear()
        key = json.dumps([where, operation, arguments], sort_keys=True, default=repr)
        if key not in self._answers:
            answer = call()
            if "Body" in answer:
                return answer  # a stream, which can be read once
            self._answers[key] = answer
        return copy.deepcopy(self._answers[key])

    def _forget(self) -> None:
        self._answers.clear()
        self._absent.clear()


def _answer_of(client: Any, operation: str, absent: Any) -> Any:
    """What a call comes to where there is nothing.

    :raises ClientError: where AWS answers with an error, of the class that the client has for its code.
    """
    if not isinstance(absent, str):
        return copy.deepcopy(absent)
    status = {"HTTPStatusCode": 404, "HTTPHeaders": {}, "RequestId": "", "RetryAttempts": 0}
    response = {"Error": {"Code": absent, "Message": "The run has found none."}, "ResponseMetadata": status}
    raise client.exceptions.from_code(absent)(response, operation)
