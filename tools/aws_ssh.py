"""ssh's ProxyCommand to an instance of AWS: no open port, no bastion, no key that lasts.

aws_ssh.py INSTANCE PORT    used by inventories/shared/ssh.cfg and by Ansible; docs/connecting.md

EC2 Instance Connect gives the host a public key that it accepts for one minute, and SSM carries the connection. The
private key is made here and replaced every day. Needs Session Manager's plugin, at least version 1.2.497.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KEYS = Path(".local") / "ssh"
_KEY_SECONDS = 86_400
_PLUGIN = "session-manager-plugin"
# With this name in place of the answer, the plugin reads it from the environment: it contains the session's token.
_RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"


def main(argv: list[str] | None = None) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(prog="aws_ssh", description=__doc__)
    parser.add_argument("instance")
    parser.add_argument("port", nargs="?", default="22")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--region", help="default: that of the AWS settings")
    args = parser.parse_args(argv)
    plugin = shutil.which(_PLUGIN)
    if plugin is None:
        sys.exit(f"aws_ssh: {_PLUGIN} is not installed; SSM's sessions need it: docs/connecting.md")
    session: Any = boto3.session.Session(region_name=args.region)
    try:
        session.client("ec2-instance-connect").send_ssh_public_key(
            InstanceId=args.instance, InstanceOSUser=args.user, SSHPublicKey=public_key(KEYS)
        )
        ssm = session.client("ssm")
        asked = {
            "Target": args.instance,
            "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"portNumber": [args.port]},
        }
        answer = ssm.start_session(**asked)
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"aws_ssh: {args.instance}: {error}")
    given = {name: answer[name] for name in ("SessionId", "StreamUrl", "TokenValue")}
    words = [_RESPONSE, ssm.meta.region_name, "StartSession", session.profile_name, json.dumps(asked)]
    os.environ[_RESPONSE] = json.dumps(given)
    os.execv(plugin, [plugin, *words, ssm.meta.endpoint_url])


def public_key(directory: Path) -> str:
    """The public key of this checkout; made, or made again once it is a day old."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = directory / "key"
    with (directory / "lock").open("w") as lock:  # Ansible's forks come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not key.exists() or time.time() - key.stat().st_mtime > _KEY_SECONDS:
            new = directory / "new"
            for file in (new, new.with_suffix(".pub")):
                file.unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "algo.trading", "-f", str(new)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
            new.with_suffix(".pub").replace(key.with_suffix(".pub"))
            new.replace(key)
        return key.with_suffix(".pub").read_text().strip()


if __name__ == "__main__":
    main()
