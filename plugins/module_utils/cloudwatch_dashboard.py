# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CloudWatch dashboards: what a body says, and one function per API call."""

from __future__ import annotations

import json
from typing import Any

from ._aws import Api, meaning
from ._tags import tag_dict, tag_list

MISSING = ("ResourceNotFound", "ResourceNotFoundException")


def body_problem(body: Any) -> str | None:
    """What is wrong with a body, found before anything is called and so in check mode as well."""
    parsed = meaning(body)
    if not isinstance(parsed, dict):
        return "body must be a dictionary, or JSON that is one"
    return None if isinstance(parsed.get("widgets"), list) else "body requires a list of widgets"


def find_dashboard(api: Api, name: str) -> dict[str, Any]:
    """A dashboard with its tags as users see it; empty where it does not exist."""
    found = api.find("get_dashboard", f"read dashboard {name}", DashboardName=name)
    if found is None:
        return {}
    arn = found["DashboardArn"]
    listed = api.find("list_tags_for_resource", f"list tags of dashboard {name}", ResourceARN=arn)
    if listed is None:
        return {}
    return {
        "name": found["DashboardName"],
        "arn": arn,
        "body": meaning(found["DashboardBody"]),
        "tags": tag_dict(listed.get("Tags")),
    }


def put_dashboard(api: Api, name: str, body: Any, tags: dict[str, str]) -> list[str]:
    """Create a dashboard with its tags in one call, so that none is ever there without, or replace the body of one.

    :return: what CloudWatch does not understand of it, and leaves out.
    """
    answer = api.call(
        "put_dashboard",
        f"write dashboard {name}",
        DashboardName=name,
        DashboardBody=json.dumps(meaning(body)),
        **({"Tags": tag_list(tags)} if tags else {}),
    )
    return [
        f"{message.get('DataPath', '')}: {message.get('Message', '')}"
        for message in answer.get("DashboardValidationMessages") or []
    ]


def delete_dashboard(api: Api, name: str) -> bool:
    """Delete a dashboard; False if it no longer exists."""
    return api.delete("delete_dashboards", f"delete dashboard {name}", DashboardNames=[name])
