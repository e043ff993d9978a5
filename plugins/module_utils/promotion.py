# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promotion: the record that an environment has verified a release, and the gate that asks for it.

The record is a part of the release file and is reviewed with it, so the next environment needs no access to the one
before. Its digest covers images, versions and the record itself: an edit of any of them makes it worthless.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

RECORD = "verified"
VERSIONS = ("algo_modeling", "mlflow")


def release_digest(release: Mapping[str, Any]) -> str:
    """The digest of a release with its record, whatever digest the record itself names."""
    record = {name: value for name, value in (release.get(RECORD) or {}).items() if name != "digest"}
    # A label without an image is left out of the file, and is there without a value where settings were checked.
    images = {label: image for label, image in (release.get("images") or {}).items() if image is not None}
    versions = {name: str(release.get(name)) for name in VERSIONS}
    return hashlib.sha256(json.dumps([images, versions, record], sort_keys=True, default=str).encode()).hexdigest()


def verified_release(
    release: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]], record: Mapping[str, Any]
) -> dict[str, Any]:
    """The release as another environment gets it: images by their ids as they were verified, and the record.

    :param images: label → image, as ``algo.trading.environment_info`` resolved them; a label without one is left out,
        since nothing ran from it.
    """
    pinned = {label: image["id"] for label, image in images.items() if "id" in image}
    sources = {label: source for label, source in (release.get("images") or {}).items() if source is not None}
    kept = {label: sources[label] for label in ("host", "gpu") if label in sources}
    verified = {name: str(value) for name, value in record.items()}
    verified["images"] = " ".join(sorted(set(pinned.values())))
    made: dict[str, Any] = {
        "images": {**kept, **pinned},
        **{name: str(release.get(name)) for name in VERSIONS},
        RECORD: verified,
    }
    verified["digest"] = release_digest(made)
    return made


def unverified(release: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]], source: str) -> Iterable[str]:
    """Why a release must not run here, a sentence for each reason.

    :param images: label → image of this run, resolved.
    :param source: the environment that must have verified it.
    """
    record = release.get(RECORD) or {}
    if not record:
        yield f"{source} has no record of having verified this release"
        return
    if record.get("environment") != source:
        yield f"it was verified by {record.get('environment')}, not by {source}"
    if record.get("digest") != release_digest(release):
        yield f"it was changed after {record.get('environment')} had verified it"
    known = set(str(record.get("images", "")).split())
    for label, image in sorted(images.items()):
        if image.get("id") not in known and "error" not in image:
            yield f"{source} has not verified the image {image.get('id')} ({label})"
