# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of components: which exist, what each consists of, and in which order they come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Component:
    """One component.

    :param name: its name in tags, variables and playbooks.
    :param title: what a plan calls it.
    :param foundation: whether the others stand on it: it is made before them and removed after them.
    :param hosts: whether it has EC2 instances, and so a role and an instance profile for them.
    :param function: whether it has a Lambda function, and so a role for it.
    :param schedules: whether schedules invoke its function, and so a role for them.
    :param secret: whether it has a secret of its own in Secrets Manager.
    :param database: whether it has a database.
    :param ports: the TCP ports on which its hosts are reached from inside the network, by what they are for.
    """

    name: str
    title: str
    foundation: bool = False
    hosts: bool = False
    function: bool = False
    schedules: bool = False
    secret: bool = False
    database: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)


REGISTRY = (
    Component("network", "the network", foundation=True),
    Component("identity", "the identities", foundation=True),
    Component(
        "alpaca_websocket",
        "the market-data server",
        hosts=True,
        function=True,
        schedules=True,
        secret=True,
        ports={"feed": 8765},
    ),
    Component("trading_server", "the trading servers", hosts=True, function=True, schedules=True),
    Component("trading_server_shutdown", "the shutdown of the trading servers", function=True, schedules=True),
    Component("mlflow_server", "the MLflow server", hosts=True, secret=True, database=True, ports={"http": 5000}),
    Component("gpu_instance", "the GPU instance", hosts=True),
)

COMPONENTS = tuple(component.name for component in REGISTRY)
HOSTS = tuple(component.name for component in REGISTRY if component.hosts)
FUNCTIONS = tuple(component.name for component in REGISTRY if component.function)
SCHEDULES = tuple(component.name for component in REGISTRY if component.schedules)
