# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IMDSv2, for what it says of the instance's own end."""

from __future__ import annotations

import urllib.error
import urllib.request

ADDRESS = "http://169.254.169.254"


class Imds:
    def __init__(self, address: str = ADDRESS, timeout: float = 5.0) -> None:
        self._address, self._timeout, self._token = address, timeout, ""
        # Never through a proxy that the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """The text at a path; None where there is nothing.

        :raises OSError: if the service does not answer
        """
        try:
            return self._read(path)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
        self._token = ""  # it has expired
        return self._read(path)

    def _read(self, path: str) -> str | None:
        if not self._token:
            self._token = self._call("/latest/api/token", "PUT", "X-aws-ec2-metadata-token-ttl-seconds", "21600")
        try:
            return self._call(path, "GET", "X-aws-ec2-metadata-token", self._token)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def _call(self, path: str, method: str, header: str, value: str) -> str:
        request = urllib.request.Request(self._address + path, method=method, headers={header: value})  # noqa: S310
        with self._opener.open(request, timeout=self._timeout) as answer:
            return str(answer.read().decode())
