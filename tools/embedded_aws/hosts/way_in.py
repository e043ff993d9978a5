"""SSH into the hosts: a key of this server's own, and a configuration file for ssh that knows the way.

Every host accepts the key for the user `admin`, as Debian's AMIs do with a launch's key pair. ``ssh -F FILE i-0123``
is all that a program needs; neither the user's nor the machine's own ssh settings and known hosts are involved.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USER = "admin"
KEY_NAME = "embedded-aws"
_CONNECT = Path(__file__).with_name("connect.py")


class WayIn:
    """Files below the state directory of one server.

    :param state: it
    """

    def __init__(self, state: Path) -> None:
        self._directory = state / "ssh"
        self._key = self._directory / "key"
        self.config = self._directory / "config"

    def make(self, endpoint: str) -> None:
        """Write the files; a key that is there is kept.

        :param endpoint: where the server answers
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self._directory / "known_hosts"
        known.unlink(missing_ok=True)  # an earlier server's hosts
        if not self._key.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", KEY_NAME, "-f", str(self._key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        settings = {
            "User": USER,
            "IdentityFile": f'"{self._key}"',
            "IdentitiesOnly": "yes",
            "PreferredAuthentications": "publickey",
            # Hosts are known by their instance id, so an address that is used again raises no alarm.
            "UserKnownHostsFile": f'"{known}"',
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "accept-new",
            "ProxyCommand": f'"{sys.executable}" -I "{_CONNECT}" {endpoint} %h %p',
            "ProxyUseFdpass": "yes",
            "ServerAliveInterval": "5",
            "LogLevel": "ERROR",
        }
        lines = "".join(f"  {name} {value}\n" for name, value in settings.items())
        self.config.write_text(f"# Written by the embedded AWS at each start.\nHost *\n{lines}")

    def close(self) -> None:
        """Remove the settings for ssh, which are also the sign that this server has hosts."""
        self.config.unlink(missing_ok=True)

    def public_key(self) -> str:
        return self._key.with_suffix(".pub").read_text().strip()
