#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_rollback
version_added: 0.1.0
short_description: Put an earlier version of a model back
description:
  - Makes a model's folder in S3 what one of its earlier manifests says, from the objects' versions.
  - Files are copied and deleted first, the manifest last, so no server takes what is half done. A run that was killed
    is finished by the next.
  - Servers take the version like a new one, with the next run of the fleet or the next start.
author:
  - The algo.trading authors (@algo-trading)
options:
  bucket:
    description: Name of the bucket. It must keep versions.
    type: str
    required: true
  folder:
    description: Key of the model's folder, such as C(models/momentum/AAPL/sma-outer_0_inner_0/).
    type: str
    required: true
  owner:
    description: Account that the bucket must belong to. Empty for any.
    type: str
    default: ''
  version:
    description:
      - The version to put back, at least the first four digits of its manifest's SHA-256. Without it, the module fails
        and names those that there are.
      - What is the present version already stays as it is, so a repeated task changes nothing.
    type: str
    default: ''
  record:
    description: Who does it, when and why. Kept in the manifest's metadata C(rolled-back).
    type: str
    required: true
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Shows the version and the files before and after.
    support: full
notes:
  - Needs C(s3:ListBucketVersions) and C(s3:GetObjectVersion), and C(s3:PutObject) and C(s3:DeleteObject) to change
    something.
  - The 20 newest versions of the manifest are looked at.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Put an earlier version of a model back
  algo.trading.model_rollback:
    bucket: algo-model-deploy-qa
    folder: models/momentum/AAPL/sma-outer_0_inner_0/
    version: 5b0c8f3e9a17
    record: 'by the desk, 2026-11-25T15:02:11Z: its orders are too large'
"""

RETURN = r"""
version:
  description: The version that the model has afterwards, in check mode would have.
  returned: success
  type: str
  sample: 5b0c8f3e9a17
before:
  description: The version that it had. Empty if its manifest had been deleted.
  returned: success
  type: str
  sample: 0c66d5b1f0aa
copied:
  description: Files that were put back.
  returned: success
  type: list
  elements: str
  sample: [model.json]
deleted:
  description: Files that are not of that version and were deleted. The bucket keeps their versions.
  returned: success
  type: list
  elements: str
  sample: []
versions:
  description: All that there are, newest first.
  returned: success
  type: list
  elements: str
  sample: ['0c66d5b1f0aa of 2026-11-25T09:00:00Z, 3 files, the present one']
"""

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils.model_history import ModelHistory, choose
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "folder": {"type": "str", "required": True},
            "owner": {"type": "str", "default": ""},
            "version": {"type": "str", "default": ""},
            "record": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        history = ModelHistory(module.client("s3"), params["bucket"], params["folder"], params["owner"])
        publications = history.read(compare=not params["version"])
        wanted = choose(publications, params["version"])
        what = history.restoration(wanted)
        if what.changes and not module.check_mode:
            history.restore(what, params["record"])
    except AlgoTradingError as error:
        module.fail_json(msg=str(error))
    before = next((each.version for each in publications if each.current), "")
    result = {"copied": list(what.copies), "deleted": list(what.deletes)}
    told = [*(f"+ {path}" for path in result["copied"]), *(f"- {path}" for path in result["deleted"])]
    module.exit_json(
        changed=what.changes,
        version=wanted.version,
        before=before,
        versions=[str(each) for each in publications],
        diff={
            "before": f"version {before or 'deleted'}\n",
            "after": "".join(f"{line}\n" for line in (f"version {wanted.version}", *told)),
        },
        **result,
    )


if __name__ == "__main__":
    main()
