# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instance's own data from IMDSv2: its id and its tags. The tags say which model it serves."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from .errors import NotYet, Refused
from .settings import Settings

ADDRESS = "http://169.254.169.254"
_TAGS = "/latest/meta-data/tags/instance"
# Everything that the fleet's claim writes and the host reads.
_CLAIM = ("Model", "ModelUri", "ModelVersion", "Symbol")


class Imds:
    """A session with a token. Slow answers are waited for, within the limit of each call."""

    def __init__(self, address: str = ADDRESS, timeout: float = 5.0) -> None:
        self._address, self._timeout, self._token = address, timeout, ""
        # Never through a proxy that the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """The text at a path; None where there is nothing.

        :raises OSError: if the service does not answer
        """
        for fresh in (False, True):
            if fresh or not self._token:
                self._token = self._call("/latest/api/token", "PUT", "X-aws-ec2-metadata-token-ttl-seconds", "21600")
            try:
                return self._call(path, "GET", "X-aws-ec2-metadata-token", self._token)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401 or fresh:
                    raise
        raise AssertionError("unreachable")

    def tags(self) -> dict[str, str]:
        names = (self.get(_TAGS) or "").split("\n")
        found = {name: self.get(f"{_TAGS}/{name}") for name in names if name}
        return {name: value for name, value in found.items() if value is not None}

    def _call(self, path: str, method: str, header: str, value: str) -> str:
        request = urllib.request.Request(self._address + path, method=method, headers={header: value})  # noqa: S310
        with self._opener.open(request, timeout=self._timeout) as answer:
            return str(answer.read().decode())


@dataclass(frozen=True)
class Claim:
    """The model that the fleet gave to this instance."""

    instance_id: str
    model: str
    uri: str
    version: str
    symbol: str


def wait_for_claim(
    imds: Imds,
    settings: Settings,
    limit: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Claim:
    """Wait until the fleet's tags are complete.

    :raises NotYet: at the limit
    :raises Refused: if they are those of another environment
    """
    end = monotonic() + limit
    pause = 0.5
    while True:
        try:
            found, lacking = _claim(imds, settings)
            if found:
                return found
            trouble = (
                f"the instance has no tag {lacking}: the fleet has not claimed it, or tags are not readable in IMDS"
            )
        except OSError as error:
            trouble = f"the instance metadata service does not answer: {error}"
        if monotonic() >= end:
            raise NotYet(f"Not claimed within {limit:g} s: {trouble}. Nothing was started.")
        sleep(pause)
        pause = min(pause * 1.5, 5.0)


def _claim(imds: Imds, settings: Settings) -> tuple[Claim | None, str]:
    tags = imds.tags()
    check_tags(tags, settings)
    for name in _CLAIM:
        if not tags.get(name):
            return None, name
    instance_id = imds.get("/latest/meta-data/instance-id") or ""
    return Claim(instance_id, tags["Model"], tags["ModelUri"], tags["ModelVersion"], tags["Symbol"]), ""


def check_tags(tags: dict[str, str], settings: Settings) -> None:
    """
    :raises Refused: if a tag says that the instance belongs elsewhere
    """
    own = {"Project": settings.project, "Environment": settings.environment, "Component": settings.component}
    wrong = [
        f"{name} is {tags[name]!r}, not {value!r}" for name, value in own.items() if tags.get(name, value) != value
    ]
    if wrong:
        raise Refused(
            f"The instance's tags contradict its settings: {'; '.join(wrong)}. Nothing was started. Replace it."
        )
