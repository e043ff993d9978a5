# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The yardstick: what somebody would write by hand with boto3. Batches of a hundred, then one CreateTags each."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore.config import Config

FLEET = [{"Name": "tag:Fleet", "Values": ["bare"]}, {"Name": "instance-state-name", "Values": ["pending", "running"]}]


def main() -> None:
    phase, given = sys.argv[1], json.loads(sys.stdin.read())
    client: Any = boto3.client("ec2", config=Config(proxies={}, read_timeout=900))
    pages = client.get_paginator("describe_instances").paginate(Filters=FLEET, PaginationConfig={"PageSize": 1000})
    found: dict[str, dict[str, Any]] = {}
    for page in pages:
        for reservation in page["Reservations"]:
            for item in reservation["Instances"]:
                tags = {tag["Key"]: tag["Value"] for tag in item["Tags"]}
                found[tags.get("Model", item["InstanceId"])] = {"id": item["InstanceId"], "tags": tags}
    if phase == "terminate":
        ids = [item["id"] for item in found.values()]
        for start in range(0, len(ids), 500):
            client.terminate_instances(InstanceIds=ids[start : start + 500])
        return
    missing = [model for model in given["models"] if model["name"] not in found]
    for start in range(0, len(missing), 100):
        batch = missing[start : start + 100]
        launched = client.run_instances(
            ImageId=given["image"],
            InstanceType="t3.nano",
            SubnetId=given["subnets"][start // 100 % len(given["subnets"])],
            MinCount=len(batch),
            MaxCount=len(batch),
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Fleet", "Value": "bare"}]}],
        )
        for model, item in zip(batch, launched["Instances"], strict=True):
            client.create_tags(
                Resources=[item["InstanceId"]],
                Tags=[{"Key": "Model", "Value": model["name"]}, {"Key": "Version", "Value": model["version"]}],
            )
    for model in given["models"]:
        there = found.get(model["name"])
        if there and there["tags"].get("Version") != model["version"]:
            client.create_tags(Resources=[there["id"]], Tags=[{"Key": "Version", "Value": model["version"]}])
    if missing:
        client.describe_instances(Filters=FLEET, MaxResults=1000)


if __name__ == "__main__":
    main()
