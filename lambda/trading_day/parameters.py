# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's settings, as the environment's parameter has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import (
    AlgoTradingError,
    InvalidInput,
    NotFound,
    error_code,
    from_aws,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import function_settings, load_document
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

from .settings import Settings

REMEDY = "Run playbooks/trading_server.yml"


def fleet_name(settings: Settings) -> str:
    return settings.parameter("trading_server/fleet")


def fleet_settings(settings: Settings, ssm: Any) -> FleetSettings:
    """The fleet's settings, refused if they are missing, broken or another environment's."""
    name = fleet_name(settings)
    try:
        value = str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except Exception as error:
        if error_code(error) == "ParameterNotFound":
            raise NotFound(f"The parameter {name} does not exist", remedy=REMEDY) from error
        raise from_aws(f"read the parameter {name}", error) from error
    try:
        fleet = function_settings(load_document(value))
    except FleetError as error:
        raise InvalidInput(f"The parameter {name} is not valid: {error}") from error
    if (fleet.project, fleet.environment) != (settings.project, settings.environment):
        raise InvalidInput(
            f"The parameter {name} is for {fleet.project} {fleet.environment}, "
            f"this function is {settings.project} {settings.environment}",
            remedy=REMEDY,
        )
    return fleet


@dataclass(frozen=True)
class Protection:
    """Which hosts may not be terminated: the fleet's settings, or why they are not known."""

    fleet: FleetSettings | None = None
    problem: str = ""

    @classmethod
    def read(cls, settings: Settings, ssm: Any) -> Protection:
        """Never fails: without the fleet's settings the hosts are drained and stopped, and none is terminated."""
        try:
            return cls(fleet_settings(settings, ssm))
        except AlgoTradingError as error:
            return cls(problem=str(error))

    def why_not_end(self, tags: Mapping[str, str]) -> str:
        if self.fleet is None:
            return "its protecting tags are not known, because the fleet's settings could not be read"
        mark = self.fleet.protection(tags)
        return f"it is protected by its tag {mark}" if mark else ""
