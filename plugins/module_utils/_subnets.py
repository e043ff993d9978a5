# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an environment's address range is divided: four large private subnets, and small public ones at its end."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

MAX_ZONES = 4
_PRIVATE_BITS = 3
_PUBLIC_BITS = 8
# AWS: between a /16 and a /28; and a public subnet of ours takes eight bits more than the VPC.
_SHORTEST, _LONGEST = 16, 20


def subnet_plan(cidr: str, zones: Sequence[str]) -> list[dict[str, str]]:
    """Divide a VPC's range.

    :param cidr: the VPC's IPv4 range, a /16 to a /20.
    :param zones: availability zones, one to four; a zone's subnets depend on its place in the list alone, so adding a
        zone at the end moves nothing.
    :return: ``{tier, zone, cidr, suffix}``, private ones first; ``suffix`` is unique and ends a name.
    :raises ValueError: in words, for a range or a number of zones that does not work.
    """
    network = IPv4Network(cidr)
    if not _SHORTEST <= network.prefixlen <= _LONGEST:
        raise ValueError(f"{cidr} is a /{network.prefixlen}; the range has to be a /{_SHORTEST} to a /{_LONGEST}")
    if not 1 <= len(zones) <= MAX_ZONES:
        raise ValueError(f"{len(zones)} availability zones are set; the limit is 1 to {MAX_ZONES}")
    private = list(network.subnets(prefixlen_diff=_PRIVATE_BITS))
    public = list(private[-1].subnets(new_prefix=network.prefixlen + _PUBLIC_BITS))
    return [
        {"tier": tier, "zone": zone, "cidr": str(blocks[place]), "suffix": f"{tier}-{zone[-1]}"}
        for tier, blocks in (("private", private), ("public", public))
        for place, zone in enumerate(zones)
    ]
