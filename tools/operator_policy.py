"""The operator's policies, from the tables of docs/permissions.md: what a person, CI or AWX needs to run the playbooks.

    python tools/operator_policy.py plan|change|hosts|remove [--project …] [--environment …] [--account …] …

Prints one policy document. What is left out of the options becomes `*`, except the project.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "permissions.md"
# Each of the page's headings with a table is a policy.
PARTS = {
    "To plan": "plan",
    "To create and to change": "change",
    "To configure hosts and make images": "hosts",
    "To remove": "remove",
}
_CODE = re.compile(r"`([^`]+)`")
# Services whose ARNs have no account, or no region.
_GLOBAL = {"iam": "arn:aws:iam::{account}:", "route53": "arn:aws:route53:::", "s3": "arn:aws:s3:::"}


def policies(page: str, **values: str) -> dict[str, dict[str, Any]]:
    """The policy documents by the names in `PARTS`.

    :param page: the text of docs/permissions.md
    :param values: project, environment, account, region, model_bucket, code_bucket
    """
    values.setdefault("code_bucket", "*")
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS.values()}
    for heading, cells in _rows(page):
        part = PARTS[heading]
        service = _CODE.findall(cells[0])[0]
        sid, before = f"{part}-{service}".title().replace("-", ""), [each["Sid"] for each in made[part]]
        sid += next(letter for letter in ["", *"bcdefgh"] if f"{sid}{letter}" not in before)
        made[part].append(_statement(sid, service, cells, values))
    return {name: {"Version": "2012-10-17", "Statement": statements} for name, statements in made.items()}


def _rows(page: str) -> Iterator[tuple[str, list[str]]]:
    """Heading and cells of each row of the tables."""
    heading = ""
    for line in page.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif heading in PARTS and line.startswith("| `"):
            yield heading, [cell.strip() for cell in line.strip("|").split("|")]


def _statement(sid: str, service: str, cells: list[str], values: dict[str, str]) -> dict[str, Any]:
    filled = [[_filled(text, values) for text in _CODE.findall(cell)] for cell in cells[1:]]
    statement: dict[str, Any] = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": [f"{service}:{action}" for action in filled[0]],
        "Resource": [_arn(service, resource, values) for resource in filled[1]],
    }
    conditions = dict(condition.split("=", 1) for condition in (filled[2] if len(filled) > 2 else []))
    if conditions:
        operator = "StringLike" if "*" in "".join(conditions.values()) else "StringEquals"
        statement["Condition"] = {operator: {key: value.split(",") for key, value in conditions.items()}}
    return statement


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"<([a-z-]+)>", lambda found: values[found[1].replace("-", "_")], text)


def _arn(service: str, resource: str, values: dict[str, str]) -> str:
    if resource == "*" or resource.startswith("arn:"):
        return resource
    return _GLOBAL.get(service, f"arn:aws:{service}:{{region}}:{{account}}:").format(**values) + resource


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS.values()])
    parser.add_argument("--project", default="algo-trading")
    for name in ("environment", "account", "region", "model-bucket", "code-bucket"):
        parser.add_argument(f"--{name}", default="*")
    values = vars(parser.parse_args())
    json.dump(policies(PAGE.read_text(), **values)[values["part"]], sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
