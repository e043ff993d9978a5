"""The instance metadata service, version 2, at 169.254.169.254: a host is known by the address it asks from.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from .. import account
from .host import Host
from .instances import Instances
from .way_in import KEY_NAME, WayIn

_VERSIONS = ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")
_LONGEST_TOKEN = 21_600
_ROLE_SECONDS = 21_600
_RENEW_BEFORE = 900
_Tree = dict[str, Any]


class Metadata:
    """WSGI application.

    :param role_seconds: how long a role's credentials are valid; new ones are given out a quarter of an hour before
    """

    def __init__(
        self,
        instances: Instances,
        moto: AbstractContextManager[Any],
        way_in: WayIn,
        role_seconds: float = _ROLE_SECONDS,
    ) -> None:
        self._instances, self._moto, self._way_in = instances, moto, way_in
        self._role_seconds = role_seconds
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}  # token: instance, end
        self._credentials: dict[tuple[str, str], account.Credentials] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = self._instances.at(str(environ.get("REMOTE_ADDR")))
        status, body, headers = self._answer(host, environ) if host else ("404 Not Found", b"", {})
        start_response(status, [("Content-Length", str(len(body))), ("Server", "EC2ws"), *headers.items()])
        return [body]

    def _answer(self, host: Host, environ: dict[str, Any]) -> tuple[str, bytes, dict[str, str]]:
        method, path = environ["REQUEST_METHOD"], str(environ.get("PATH_INFO", "/"))
        options = host.instance.metadata_options
        if options.http_endpoint == "disabled":
            return "403 Forbidden", b"", {}
        if path == "/latest/api/token":
            return self._token(host, environ, int(options.http_put_response_hop_limit))
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", b"", {}
        given = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        if given is None and options.http_tokens == "required":
            return "401 Unauthorized", b"", {}
        if given is not None:
            with self._lock:
                owner, end = self._tokens.get(given, ("", 0.0))
            if owner != host.id or end < time.monotonic():
                return "401 Unauthorized", b"", {}
        with self._moto:
            found = self._find(host, path)
        if found is None:
            return "404 Not Found", b"", {}
        return "200 OK", found, {"Content-Type": "text/plain"}

    def _token(self, host: Host, environ: dict[str, Any], hop_limit: int) -> tuple[str, bytes, dict[str, str]]:
        if environ["REQUEST_METHOD"] != "PUT":
            return "405 Method Not Allowed", b"", {}
        if environ.get("HTTP_X_FORWARDED_FOR"):
            return "403 Forbidden", b"", {}
        try:
            seconds = int(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", ""))
        except ValueError:
            seconds = 0
        if not 1 <= seconds <= _LONGEST_TOKEN:
            return "400 Bad Request", b"", {}
        # The answer gets no further than this many hops: with 1, not into a container of the host.
        connection = environ.get("werkzeug.socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
        token = base64.b64encode(secrets.token_bytes(40)).decode()
        with self._lock:
            now = time.monotonic()
            self._tokens = {old: kept for old, kept in self._tokens.items() if kept[1] > now}
            self._tokens[token] = (host.id, now + seconds)
        return "200 OK", token.encode(), {"X-aws-ec2-metadata-token-ttl-seconds": str(seconds)}

    def _find(self, host: Host, path: str) -> bytes | None:
        """The document at a path; a folder is the list of its names."""
        parts = [part for part in path.split("/") if part]
        if not parts:
            return "\n".join(_VERSIONS).encode()
        if parts[0] not in _VERSIONS:
            return None
        here: Any = self._tree(host)
        for part in parts[1:]:
            here = here.get(part) if isinstance(here, dict) else None
        if callable(here):
            here = here()
        if isinstance(here, _Named):
            return here.shown.encode()
        if isinstance(here, dict):
            return "\n".join(name + "/" * isinstance(kept, dict) for name, kept in here.items()).encode()
        return here.encode() if isinstance(here, str) else here

    def _tree(self, host: Host) -> _Tree:
        tree: _Tree = {"dynamic": {"instance-identity": {"document": self._document(host)}}}
        tree["meta-data"] = self._meta_data(host)
        if host.instance.user_data:
            # moto's type prints itself decoded; only str() gives the base64 that was sent.
            tree["user-data"] = base64.b64decode(str(host.instance.user_data))
        return tree

    def _meta_data(self, host: Host) -> _Tree:
        instance = host.instance
        nic = instance.nics[0]
        mac = str(nic.mac_address)
        zone = str(instance.availability_zone)
        groups = [group.name for group in instance.security_groups]
        data: _Tree = {
            "ami-id": instance.image_id,
            "ami-launch-index": str(instance.ami_launch_index),
            "hostname": instance.private_dns_name,
            "instance-action": "none",
            "instance-id": host.id,
            "instance-life-cycle": instance.lifecycle or "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": host.address,
            "mac": mac,
            "network": {
                "interfaces": {
                    "macs": {
                        mac: {
                            "device-number": "0",
                            "interface-id": nic.id,
                            "local-hostname": instance.private_dns_name,
                            "local-ipv4s": host.address,
                            "mac": mac,
                            "subnet-id": str(instance.subnet_id),
                            "vpc-id": str(instance.vpc_id),
                            "vpc-ipv4-cidr-block": host.cidr,
                        }
                    }
                }
            },
            "placement": {"availability-zone": zone, "region": host.region},
            "profile": "default-hvm",
            "security-groups": "\n".join(groups),
            "services": {"domain": "amazonaws.com", "partition": account.PARTITION},
        }
        keys = {KEY_NAME: self._way_in.public_key()}
        pair = account.backend("ec2", host.region).key_pairs.get(instance.key_name or "")
        if pair is not None:
            keys = {instance.key_name: pair.public_key, **keys}
        data["public-keys"] = _Named(
            {str(number): {"openssh-key": key} for number, key in enumerate(keys.values())},
            "\n".join(f"{number}={name}" for number, name in enumerate(keys)),
        )
        if instance.metadata_options.instance_metadata_tags == "enabled":
            tags = {name: str(value) for name, value in account.tags_of(host.id, host.region).items()}
            data["tags"] = {"instance": tags}
        profile = self.profile(host)
        if profile is not None:
            info = {"Code": "Success", "LastUpdated": _time(time.time()), "InstanceProfileArn": profile.arn,
                    "InstanceProfileId": profile.id}  # fmt: skip
            role = next(iter(profile.roles), None)
            given = {role.name: lambda: self._role(host, role)} if role is not None else {}
            data["iam"] = {"info": json.dumps(info), "security-credentials": given}
        return data

    @staticmethod
    def profile(host: Host) -> Any | None:
        """The instance profile of a host, as it is now."""
        association = account.backend("ec2", host.region).iam_instance_profile_associations.get(host.id)
        return association.iam_instance_profile if association else None

    def _role(self, host: Host, role: Any) -> str:
        kept = self._credentials.get((host.id, role.arn))
        if kept is None or kept.expires - time.time() < min(_RENEW_BEFORE, self._role_seconds / 2):
            kept = account.assume(role.arn, host.id, host.region, int(self._role_seconds))
            self._credentials[host.id, role.arn] = kept
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": _time(time.time()),
                "Type": "AWS-HMAC",
                "AccessKeyId": kept.access_key,
                "SecretAccessKey": kept.secret_key,
                "Token": kept.token,
                "Expiration": _time(kept.expires),
            }
        )

    def _document(self, host: Host) -> str:
        instance = host.instance
        return json.dumps(
            {
                "accountId": account.account_id(),
                "architecture": instance.architecture,
                "availabilityZone": instance.availability_zone,
                "imageId": instance.image_id,
                "instanceId": host.id,
                "instanceType": instance.instance_type,
                "pendingTime": _time(instance.launch_time.timestamp()),
                "privateIp": host.address,
                "region": host.region,
                "version": "2017-09-30",
            }
        )


class _Named(dict[str, Any]):
    """A folder that is listed in another way than by its names."""

    def __init__(self, entries: dict[str, Any], shown: str) -> None:
        super().__init__(entries)
        self.shown = shown


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
