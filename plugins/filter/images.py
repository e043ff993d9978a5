# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for machine images and their promotion. The documentation of each stands beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.algo.trading.plugins.module_utils import _naming, _tags, images, promotion


def image_digest(facts: Mapping[str, Any], folders: Sequence[str]) -> str:
    return images.content_digest([Path(folder) for folder in folders], facts)


def live_instances(components: Sequence[str], project: str, environment: str) -> dict[str, Any]:
    tags = _tags.identity_tags(project, environment, "")
    filters: dict[str, Any] = {f"tag:{name}": value for name, value in tags.items()}
    return {**filters, "tag:Component": list(components), "instance-state-name": list(_naming.LIVE_STATES)}


def release_with_image(text: str, label: str, image_id: str) -> str:
    try:
        return images.release_with_image(text, label, image_id)
    except ValueError as error:
        raise AnsibleFilterError(
            f"release.yml cannot be changed: {error}. Write {label}: {image_id} yourself."
        ) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "image_digest": image_digest,
            "images_to_remove": images.images_to_remove,
            "live_instances": live_instances,
            "release_with_image": release_with_image,
            "verified_release": promotion.verified_release,
        }
