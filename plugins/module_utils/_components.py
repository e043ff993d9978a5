# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of components: which exist, and what each consists of. The order is that of a plan.

The engine, the inventory, the plays, the network, the identities and the checks of the settings read it, so a new
component is a role, the policies of its identities, and one entry here (docs/components.md).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """A TCP port of a component's hosts that is open to the environment's network."""

    number: int
    used_by: str
    """Who may connect, as in the description of the security group's rule."""


@dataclass(frozen=True)
class Database:
    """A component's database."""

    title: str
    port: int = 5432


@dataclass(frozen=True)
class Component:
    """One component. Its role is ``aws_<name>``.

    :param name: its name in tags, variables, tags of tasks and names of resources.
    :param title: its name in texts.
    :param foundation: whether the others depend on it: it is created before them and removed after them.
    :param hosts: whether it has EC2 instances: an identity and a security group for them.
    :param fleet: whether these are many, made by ``model_fleet``, rather than one.
    :param function: whether it has a Lambda function, and so an identity for it.
    :param schedules: whether schedules invoke its function, and so an identity for them.
    :param secret: whether it has a secret.
    :param database: its database, if it has one.
    :param ports: where its hosts are reached.
    :param host_role: the Ansible role that configures its hosts.
    :param host_status: a shell command that prints how a host's service is, as JSON or in a word, and ends with 0 if it
        is healthy.
    """

    name: str
    title: str
    foundation: bool = False
    hosts: bool = False
    fleet: bool = False
    function: bool = False
    schedules: bool = False
    secret: bool = False
    database: Database | None = None
    ports: tuple[Port, ...] = ()
    host_role: str = ""
    host_status: str = ""

    @property
    def role(self) -> str:
        """The Ansible role that makes it; also the name of its host in the inventory."""
        return f"aws_{self.name}"


REGISTRY = (
    Component("network", "network", foundation=True),
    Component("identity", "identities", foundation=True),
    Component(
        "alpaca_websocket",
        "market-data server",
        hosts=True,
        function=True,
        schedules=True,
        secret=True,
        ports=(Port(8765, "Trading servers"),),
        host_role="alpaca_websocket",
        host_status="curl -sS --fail-with-body --max-time 5 http://127.0.0.1:8766/health",
    ),
    Component(
        "trading_server",
        "trading servers",
        hosts=True,
        fleet=True,
        function=True,
        schedules=True,
        host_role="trading_server",
        host_status="algo-host status --json",
    ),
    Component("trading_server_shutdown", "shutdown of the trading servers", function=True, schedules=True),
    Component(
        "mlflow_server",
        "MLflow server",
        hosts=True,
        secret=True,
        database=Database("MLflow database"),
        ports=(Port(443, "Experiments"),),
        host_role="mlflow_server",
        host_status="algo-mlflow status --json",
    ),
    Component("gpu_instance", "GPU instances", hosts=True, host_role="gpu_host", host_status="algo-gpu status --json"),
)


def having(attribute: str) -> tuple[str, ...]:
    """The names of the components that have something, such as ``hosts``."""
    return tuple(component.name for component in REGISTRY if getattr(component, attribute))


COMPONENTS = tuple(component.name for component in REGISTRY)
HOSTS = having("hosts")
SINGLE_HOSTS = tuple(name for name in HOSTS if name not in having("fleet"))
FUNCTIONS = having("function")
SECRETS = having("secret")
DATABASES = having("database")
