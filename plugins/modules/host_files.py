#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
version_added: 0.1.0
short_description: Write a host's directories and text files in one step
description:
  - Does for a list what M(ansible.builtin.file), M(ansible.builtin.copy) and M(ansible.builtin.template) do for each
    entry of a loop, in one call. A loop of twenty files starts a hundred processes of SSH.
  - Each file is replaced as a whole, and none before all that have a check have passed it.
author:
  - The algo.trading authors (@algo-trading)
options:
  directories:
    description: Absolute paths of directories, which are made before the files and get the mode 0755.
    type: list
    elements: str
    default: []
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link in its place is replaced, not followed.
        type: path
        required: true
      content:
        description: The text.
        type: str
        required: true
      mode:
        description: Permissions of the file.
        type: str
        default: '0644'
      check:
        description: Command that must accept the new content before anything changes. V(%s) stands for a file with it.
        type: str
        default: ''
  owner:
    description: Owner of all of them.
    type: str
    default: root
  group:
    description: Group of all of them.
    type: str
    default: root
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Shows what each file would contain.
    support: full
"""

EXAMPLES = r"""
- name: Write the settings and the unit
  algo.trading.host_files:
    directories: [/etc/example]
    files:
      - path: /etc/example/settings.json
        content: "{{ settings | to_nice_json }}"
      - path: /etc/systemd/system/example.service
        content: "{{ lookup('ansible.builtin.template', 'example.service.j2') }}"
"""

RETURN = r"""
paths:
  description: What was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/example/settings.json]
"""

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    suboptions: dict[str, dict[str, Any]] = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "check": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": suboptions},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    given = module.params
    paths = [*given["directories"], *(file["path"] for file in given["files"])]
    wrong = sorted({path for path in paths if not os.path.isabs(path) or paths.count(path) > 1})
    if wrong:
        module.fail_json(msg=f"Paths must be absolute and named once. Nothing was changed: {', '.join(wrong)}")
    unlike = [path for path in given["directories"] if os.path.lexists(path) and not os.path.isdir(path)]
    unlike += [file["path"] for file in given["files"] if os.path.isdir(file["path"])]
    if unlike:
        named = ", ".join(unlike)
        module.fail_json(msg=f"A file is in the place of a directory, or the reverse. Nothing was changed: {named}")
    changed, diff = _write(module)
    module.exit_json(changed=bool(changed), paths=changed, diff=diff)


def _write(module: AnsibleModule) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the changed paths and their differences."""
    contents = {file["path"]: _content(file["path"]) for file in module.params["files"]}
    differing = [file for file in module.params["files"] if contents[file["path"]] != file["content"].encode()]
    for file in differing:
        if file["check"]:
            _check(module, file)
    changed = []
    for path in module.params["directories"]:
        missing = not os.path.isdir(path)
        if missing and not module.check_mode:
            os.makedirs(path, 0o755)
        if _attributes(module, path, "0755") or missing:
            changed.append(path)
    for file in module.params["files"]:
        if file in differing and not module.check_mode:
            _replace(module, file)
        if _attributes(module, file["path"], file["mode"]) or file in differing:
            changed.append(file["path"])
    return changed, [_difference(file, contents[file["path"]]) for file in differing]


def _difference(file: dict[str, Any], before: bytes | None) -> dict[str, str]:
    shown = (before or b"").decode(errors="replace")
    headers = {"before_header": file["path"], "after_header": file["path"]}
    return {**headers, "before": shown, "after": file["content"]}


def _content(path: str) -> bytes | None:
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _check(module: AnsibleModule, file: dict[str, Any]) -> None:
    """Fail unless the file's own command accepts the new content."""
    # Not in the module's own temporary directory: the first use of that warns wherever Ansible's is not made yet.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as new:
        new.write(file["content"])
        new.flush()
        status, out, err = module.run_command(file["check"] % new.name)
    if status:
        said = (err or out).strip()
        module.fail_json(msg=f"{file['path']}: '{file['check']}' refuses its new content. Nothing was changed: {said}")


def _replace(module: AnsibleModule, file: dict[str, Any]) -> None:
    """Put the new content into the file's place in one step, with its owner and mode from the beginning."""
    handle, new = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(file["path"]))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(file["content"])
            opened.flush()
            os.fsync(opened.fileno())
        _attributes(module, new, file["mode"])
        os.replace(new, file["path"])
    except BaseException:
        os.unlink(new)
        raise


def _attributes(module: AnsibleModule, path: str, mode: str) -> bool:
    """Set owner, group and mode; returns whether they differed."""
    if module.check_mode and not os.path.exists(path):
        return True
    wanted = module.load_file_common_arguments(
        {"path": path, "mode": mode, "owner": module.params["owner"], "group": module.params["group"]}
    )
    return bool(module.set_fs_attributes_if_different(wanted, False))


if __name__ == "__main__":
    main()
