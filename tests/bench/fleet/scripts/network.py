# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image and the subnets that a fresh embedded AWS has."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore.config import Config


def main() -> None:
    session: Any = boto3.session.Session()
    client = session.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=sys.argv[1],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(proxies={}, read_timeout=900),
    )
    subnets = sorted(item["SubnetId"] for item in client.describe_subnets()["Subnets"])[:3]
    image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    print(json.dumps({"image": image, "subnets": subnets}))


if __name__ == "__main__":
    main()
