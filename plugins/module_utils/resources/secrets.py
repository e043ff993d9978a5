# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets in Secrets Manager, as community.aws manages them: that they are there, never what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._aws import read_each, unless_missing
from .._components import SECRETS
from .._naming import Scope
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings

_RECOVERY_DAYS = 7


def _read_secrets(clients: Any, scope: Scope) -> Iterable[Found]:
    client = clients("secretsmanager")

    def read(name: str) -> list[Found]:
        secret = unless_missing(client.describe_secret, "ResourceNotFoundException", SecretId=name)
        if secret is None:
            return []
        tags = tag_dict(secret.get("Tags"))
        settings: Settings = {"name": name, "kms_key_id": secret.get("KmsKeyId"), "tags": tags}
        attributes = {
            "arn": secret["ARN"],
            # Nobody has put another value in since it was made.
            "untouched": len(secret.get("VersionIdsToStages") or ()) <= 1,
        }
        deletion = "scheduled for deletion" if secret.get("DeletedDate") else ""
        return [Found(name, settings, attributes, tags, pending_deletion=deletion)]

    # By name: listing lags minutes behind, and a foreign secret of our name has to be seen.
    return read_each(read, map(scope.name, SECRETS))


SECRET = ResourceType(
    module="community.aws.secretsmanager_secret",
    service="secretsmanager",
    title="secret",
    read=_read_secrets,
    compared=frozenset({"name", "kms_key_id", "tags"}),
    # The module can change these only together with the value, which is not ours to know after the first day.
    force_new=frozenset({"kms_key_id"}),
    create_only=frozenset({"description", "json_secret", "secret", "secret_type"}),
    steering=frozenset({"recovery_window", "overwrite"}),
    extra_arguments=lambda arguments, found: {"overwrite": False} if found else {},
    computed=("arn",),
    attributes=lambda result, arguments: {
        # Named differently by the module after making a secret and after changing one.
        "arn": next((value for name, value in (result.get("secret") or {}).items() if name.lower() == "arn"), None),
    },
    delete_arguments=lambda found: {"recovery_window": _RECOVERY_DAYS},
    restorable=True,
    destroy_order=40,
)

TYPES = (SECRET,)
