#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_package
version_added: 0.1.0
short_description: Build a reproducible zip for AWS Lambda
description:
  - Puts files, folders and texts into a zip whose bytes depend on nothing but their names and contents. Order, times,
    permissions and by default compression are fixed, so that the same source is the same package on every machine,
    and a function is updated only when its code has changed.
  - Compiled Python (C(__pycache__), C(*.pyc)) and hidden files never go in.
author:
  - The algo.trading authors (@algo-trading)
options:
  dest:
    description: The zip. Folders are made as needed, and the file is replaced at once or not at all.
    type: path
    required: true
  sources:
    description: What goes into the zip. Two sources may not give different contents for the same path.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: A file or folder on the host that runs the module.
        type: path
      content:
        description: A text, instead of O(sources[].path).
        type: str
      archive_path:
        description:
          - Where it goes in the archive. By default a file keeps its name at the root, and a folder's content goes to
            the root.
          - Required with O(sources[].content).
        type: str
      exclude:
        description:
          - Shell patterns for files and folders to be left out of a folder, matched against the name and against the
            path within the folder.
        type: list
        elements: str
        default: []
  compression:
    description:
      - V(stored) gives the same bytes whatever compression library the machine has. V(deflated) is smaller, but the
        same source may give other bytes on another machine.
    type: str
    choices: [stored, deflated]
    default: stored
attributes:
  check_mode:
    description:
      - The package is built in check mode as well. It is a build product on the controller, and C(amazon.aws.lambda)
        needs to read it to tell in check mode whether the function would be updated. Nothing else is touched.
    support: full
  diff_mode:
    description: Shows which files of the package change.
    support: full
notes:
  - Add C(changed_when=false) where a local build should not count as a change of the environment.
"""

EXAMPLES = r"""
- name: Build the functions' package
  algo.trading.lambda_package:
    dest: "{{ playbook_dir }}/../build/lambda/trading_day.zip"
    sources:
      - path: "{{ playbook_dir }}/../lambda/trading_day"
        archive_path: trading_day
      - path: "{{ playbook_dir }}/../plugins/module_utils/models.py"
        archive_path: ansible_collections/algo/trading/plugins/module_utils/models.py
      - content: "{{ sessions | to_json(sort_keys=true) }}"
        archive_path: trading_day/sessions.json
  register: package
  changed_when: false

- name: Deploy it
  amazon.aws.lambda:
    name: algo-trading-trading-server-qa
    zip_file: "{{ package.path }}"
    runtime: python3.13
    architecture: arm64
    handler: trading_day.handlers.trading_server
    role: algo-trading-trading-server-qa-lambda
"""

RETURN = r"""
path:
  description: The zip.
  returned: success
  type: str
  sample: /home/me/algo.trading/build/lambda/trading_day.zip
sha256:
  description: SHA-256 of the zip, in hexadecimal.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
code_sha256:
  description: SHA-256 of the zip in base64, which is what Lambda reports as C(CodeSha256).
  returned: success
  type: str
  sample: n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=
size:
  description: Size of the zip in bytes.
  returned: success
  type: int
  sample: 48213
files:
  description: The paths in the zip, sorted.
  returned: success
  type: list
  elements: str
  sample: [trading_day/__init__.py, trading_day/handlers.py]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.algo.trading.plugins.module_utils.lambda_package import (
    PackageError,
    Source,
    build,
    manifest_of,
    write,
)


def to_source(option: dict[str, Any]) -> Source:
    """One entry of the option sources as a value."""
    return Source(
        archive_path=option["archive_path"] or "",
        path=Path(option["path"]) if option["path"] is not None else None,
        content=option["content"],
        exclude=tuple(option["exclude"]),
    )


def main() -> None:
    """Build, put in place, report."""
    source_options = {
        "path": {"type": "path"},
        "content": {"type": "str"},
        "archive_path": {"type": "str"},
        "exclude": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "sources": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": source_options,
                "mutually_exclusive": [("path", "content")],
                "required_one_of": [("path", "content")],
                "required_by": {"content": "archive_path"},
            },
            "compression": {"type": "str", "choices": ["stored", "deflated"], "default": "stored"},
        },
        supports_check_mode=True,
    )
    dest = Path(module.params["dest"])
    try:
        package = build([to_source(option) for option in module.params["sources"]], module.params["compression"])
        before = manifest_of(dest)
        # In check mode too: a build product, without which the deployment could not be planned.
        changed = write(package, dest)
    except PackageError as error:
        module.fail_json(msg=f"Cannot build {dest}: {error}")

    result: dict[str, Any] = {
        "changed": changed,
        "path": str(dest),
        "sha256": package.sha256,
        "code_sha256": package.code_sha256,
        "size": len(package.data),
        "files": list(package.files),
    }
    if changed:
        result["diff"] = {"before": before, "after": dict(package.files), "before_header": str(dest)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
