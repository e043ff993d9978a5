# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of an environment's resources: names, parameter paths, log groups, DNS names and ARNs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import _tags
from ._components import COMPONENTS, having

# Instances that exist; the others are on their way out.
LIVE_STATES = ("pending", "running", "stopping", "stopped")


def resource_name(project: str, component: str, environment: str, suffix: str = "") -> str:
    """The name of a component's resource.

    >>> resource_name("algo-trading", "mlflow_server", "qa")
    'algo-trading-mlflow-server-qa'
    """
    return "-".join((project, component.replace("_", "-"), environment, *([suffix] if suffix else [])))


# Suffix of the queue that tells of new models. What belongs to it is read only where the queue exists.
NEW_MODELS = "new-models"


def parameter_path(project: str, environment: str, *parts: str) -> str:
    """The path of a parameter of Systems Manager; without parts, the one under which an environment's all are.

    >>> parameter_path("algo-trading", "qa", "trading_server", "fleet")
    '/algo-trading/qa/trading_server/fleet'
    """
    return "/".join(("", project, environment, *parts))


def lock_path(project: str, environment: str) -> str:
    """The parameter that is an environment's lock."""
    return parameter_path(project, environment, "lock")


def log_group(project: str, environment: str, component: str) -> str:
    """The log group of a component's hosts."""
    return parameter_path(project, environment, component)


def dns_name(project: str, environment: str, component: str = "") -> str:
    """The DNS name of a component's host; without a component, an environment's private zone.

    >>> dns_name("algo-trading", "qa", "alpaca_websocket")
    'alpaca-websocket.qa.algo-trading.internal'
    """
    host = [component.replace("_", "-")] if component else []
    return ".".join((*host, environment, project, "internal"))


# Kind of an identity → the end of its role's name.
_IDENTITIES = {"hosts": "", "function": "lambda", "schedules": "scheduler"}


def identities(project: str, environment: str) -> list[dict[str, str]]:
    """Every identity that an environment can have: of hosts, of functions, of the schedules that invoke these."""
    return [
        {
            "name": resource_name(project, component, environment, suffix),
            "resource": resource_name(project, component, environment),
            "component": component,
            "kind": kind,
            "owner": f"{component}'s {kind}",
        }
        for kind, suffix in _IDENTITIES.items()
        for component in having(kind)
    ]


def partition(region: str) -> str:
    """The partition of AWS that a region belongs to."""
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((name for prefix, name in prefixes.items() if region.startswith(prefix)), "aws")


def arn(service: str, resource: str, *, region: str, account: str = "", partition_: str = "") -> str:
    """The ARN of a resource. S3 buckets have no region and no account in it, IAM's resources no region.

    >>> arn("sns", "algo-trading-trading-server-shutdown-qa", region="us-east-1", account="123456789012")
    'arn:aws:sns:us-east-1:123456789012:algo-trading-trading-server-shutdown-qa'
    """
    place = "" if service in ("iam", "s3") else region
    owner = "" if service == "s3" else account
    return ":".join(("arn", partition_ or partition(region), service, place, owner, resource))


@dataclass(frozen=True)
class Scope:
    """One environment of one project in one account and region: what is ours, and what it is called."""

    project: str
    environment: str
    region: str = "us-east-1"
    buckets: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    """Names of externally owned resources to adopt; they are read like our own."""

    def name(self, component: str, suffix: str = "") -> str:
        """The name of a component's resources, e.g. ``algo-trading-mlflow-server-qa``."""
        return resource_name(self.project, component, self.environment, suffix)

    def owns_name(self, name: str) -> bool:
        """Whether a name is one of ours, with or without a suffix.

        Compared with every component's whole name: ``…-trading-server-qa`` must not claim ``…-trading-server-qa2``.
        """
        return any(name == own or name.startswith(f"{own}-") for own in map(self.name, COMPONENTS))

    def parameter(self, *parts: str) -> str:
        return parameter_path(self.project, self.environment, *parts)

    @property
    def lock(self) -> str:
        return lock_path(self.project, self.environment)

    def tags(self, component: str) -> dict[str, str]:
        return _tags.identity_tags(self.project, self.environment, component)

    def names(self, tags: Mapping[str, str]) -> bool:
        """Whether tags name this environment, whoever made the resource."""
        return tags.get("Project") == self.project and tags.get("Environment") == self.environment

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether tags say that a resource is this environment's and made by us."""
        return _tags.owns(tags, self.project, self.environment)
