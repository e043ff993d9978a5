# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts on disk: canonical JSON, no clock, no host name, so that equal training gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import __version__
from .folds import Span
from .training import Trained

MODEL_FORMAT = "algo-modeling/model/1"
METRICS_FORMAT = "algo-modeling/metrics/1"
MANIFEST_FORMAT = "algo-modeling/manifest/1"
MANIFEST = "manifest.json"
LAYOUT = re.compile(r"[^/]+/[^/]+/[^/]+-outer_\d+_inner_\d+")

# What decides on a model's content. Publishing and the command line do not.
_DECISIVE = ("artifact.py", "data.py", "folds.py", "strategies.py", "training.py")


class ArtifactError(Exception):
    """An artifact on disk that is not what its manifest says."""


def canonical(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def code_digest() -> str:
    """SHA-256 over the source that decides on a model's content."""
    here = Path(__file__).parent
    return sha256(b"".join(f"{name}\0".encode() + (here / name).read_bytes() + b"\0" for name in _DECISIVE))


def files_of(trained: Trained) -> dict[str, bytes]:
    """The artifact's files by path, the manifest last."""
    prices, fold = trained.prices, trained.fold
    code = {"sha256": code_digest(), "version": __version__}
    identity = {
        "type": trained.strategy.type,
        "symbol": prices.symbol,
        "model": trained.strategy.model,
        "outer": fold.outer,
        "inner": fold.inner,
    }

    def span(part: Span) -> dict[str, Any]:
        return {"from": prices.dates[part.start], "to": prices.dates[part.end - 1], "days": len(part)}

    # Nothing here may depend on a day after the training span: a test changes the future and compares bytes.
    model = {
        "format": MODEL_FORMAT,
        **identity,
        "parameters": dict(trained.parameters),
        "trained_on": {**span(fold.train), "sha256": prices.until(fold.train.end).digest()},
        "code": code,
    }
    metrics = {
        "format": METRICS_FORMAT,
        **identity,
        "candidates": trained.candidates,
        "chosen": trained.chosen,
        "train": {**span(fold.train), **trained.train},
        "validation": {**span(fold.validation), **trained.validation},
        "test": {**span(fold.test), **trained.test},
        "buy_and_hold": {**span(fold.test), **trained.benchmark},
        "data": {"source": "bokeh_sampledata.stocks", "sha256": prices.until(fold.test.end).digest()},
        "code": code,
    }
    files = {"metrics.json": canonical(metrics), "model.json": canonical(model)}
    manifest = {
        "format": MANIFEST_FORMAT,
        "name": trained.name,
        "files": [{"path": path, "size": len(body), "sha256": sha256(body)} for path, body in sorted(files.items())],
    }
    return {**files, MANIFEST: canonical(manifest)}


def write(root: Path, trained: Trained) -> bool:
    """Write one artifact below `root`/models; whether any byte changed."""
    folder = root / "models" / trained.name
    files = files_of(trained)
    folder.mkdir(parents=True, exist_ok=True)
    changed = False
    for stale in sorted(path for path in folder.iterdir() if path.name not in files):
        stale.unlink()
        changed = True
    for path, body in files.items():
        target = folder / path
        if target.is_file() and target.read_bytes() == body:
            continue
        changed = True
        draft = folder / f".{path}.new"
        draft.write_bytes(body)
        draft.replace(target)
    return changed


def prune(root: Path, names: Iterable[str]) -> list[str]:
    """Remove artifacts of earlier trainings that are not among `names`, and only those."""
    keep, gone = set(names), []
    for folder in find(root):
        name = name_of(root, folder)
        if name not in keep:
            shutil.rmtree(folder)
            gone.append(name)
    return gone


def find(root: Path) -> list[Path]:
    """The folders of all artifacts below `root`/models."""
    found = (path.parent for path in (root / "models").glob(f"*/*/*/{MANIFEST}"))
    return sorted(folder for folder in found if LAYOUT.fullmatch(name_of(root, folder)))


def name_of(root: Path, folder: Path) -> str:
    return folder.relative_to(root / "models").as_posix()


def read(folder: Path) -> dict[str, bytes]:
    """The artifact's files, verified against its manifest, which comes last."""
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        if manifest["format"] != MANIFEST_FORMAT:
            raise ArtifactError(
                f"{folder}: the manifest has the format {manifest['format']!r}, not {MANIFEST_FORMAT!r}"
            )
        files = {}
        for entry in manifest["files"]:
            body = (folder / entry["path"]).read_bytes()
            if (len(body), sha256(body)) != (entry["size"], entry["sha256"]):
                raise ArtifactError(f"{folder / entry['path']} is not the file that the manifest names; train again")
            files[str(entry["path"])] = body
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ArtifactError(f"{folder} is no complete artifact ({exc}); train again") from exc
    return {**files, MANIFEST: raw}


def digests(manifest: bytes) -> dict[str, str]:
    """Digests by path, as a manifest from elsewhere names them; empty if it can't be read."""
    try:
        return {str(entry["path"]): str(entry["sha256"]) for entry in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError):
        return {}
