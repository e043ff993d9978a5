"""A role that stands for the local environment's operator: with the policies of docs/permissions.md, and no more."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import operator_policy

NAME = "operator"
# As inventories/local says.
_PROJECT, _ENVIRONMENT, _MODEL_BUCKET = "algo-trading", "local", "algo-model-deploy-local"


def make(endpoint: str) -> str:
    """Make the role, or give it the policies as they are now; returns its ARN."""
    import boto3
    from botocore.config import Config

    session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
    more = {"endpoint_url": endpoint, "config": Config(proxies={})}
    iam, account = session.client("iam", **more), session.client("sts", **more).get_caller_identity()["Account"]
    documents = operator_policy.policies(
        operator_policy.PAGE.read_text(),
        project=_PROJECT,
        environment=_ENVIRONMENT,
        account=account,
        region=session.region_name,
        model_bucket=_MODEL_BUCKET,
    )
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps({"Statement": []}))
    for part, document in documents.items():
        iam.put_role_policy(RoleName=NAME, PolicyName=part, PolicyDocument=json.dumps(document))
    return str(iam.get_role(RoleName=NAME)["Role"]["Arn"])
