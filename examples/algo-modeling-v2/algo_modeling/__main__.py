# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: train, verify, publish, track."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import artifact, publishing, tracking
from .data import SYMBOLS, load
from .strategies import STRATEGIES
from .training import train

DEFAULT_SYMBOLS = ("AAPL", "GOOG", "MSFT")


def say(text: str) -> None:
    print(text, flush=True)


def _train(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    pairs = [(STRATEGIES[kind], symbol) for kind in options.types for symbol in options.symbols]
    folds = f"{options.outer} outer x {options.inner} inner folds"
    say(f"Training {len(pairs)} models ({', '.join(options.types)} for {', '.join(options.symbols)}), {folds} each")
    names, changed = [], 0
    for number, (strategy, symbol) in enumerate(pairs, 1):
        for model in train(strategy, load(symbol), options.outer, options.inner):
            if not (model.chosen or options.all):
                continue
            new = artifact.write(options.output, model)
            names.append(model.name)
            changed += new
            scores = f"Sharpe {model.validation['sharpe']:+.2f} in validation, {model.test['sharpe']:+.2f} in test"
            say(f"[{number}/{len(pairs)}] {model.name:45} {scores}{'' if new else ', unchanged'}")
    gone = artifact.prune(options.output, names)
    say(
        f"{len(names)} artifacts in {options.output}: {changed} written, {len(names) - changed} unchanged, "
        f"{len(gone)} removed, {time.monotonic() - begun:.1f} s"
    )
    return 0


def _verify(options: argparse.Namespace) -> int:
    folders = artifact.find(options.output)
    for folder in folders:
        artifact.read(folder)
    say(f"{len(folders)} artifacts in {options.output} are what their manifests say")
    return 0 if folders else 1


def _publish(options: argparse.Namespace) -> int:
    s3 = publishing.connect(options.region, options.endpoint_url, options.profile)
    tags = dict(options.bucket_tag)
    if options.create_bucket and publishing.ensure_bucket(s3, options.bucket, tags):
        say(f"Created the bucket {options.bucket}")
    total = len(artifact.find(options.output))
    uploaded = changed = 0
    for number, done in enumerate(publishing.publish(s3, options.bucket, options.output), 1):
        what = ", ".join(done.uploaded) if done.uploaded else "unchanged"
        say(f"[{number}/{total}] s3://{options.bucket}/models/{done.name}/  {what}")
        uploaded += len(done.uploaded)
        changed += bool(done.uploaded or done.removed)
    say(f"{total} artifacts in s3://{options.bucket}/models/: {changed} changed, {uploaded} files uploaded")
    return 0


def _track(options: argparse.Namespace) -> int:
    server = tracking.Server(os.environ)
    total = len(artifact.find(options.output))
    logged = 0
    for number, (name, new) in enumerate(tracking.track(server, options.output, options.experiment), 1):
        say(f"[{number}/{total}] {name:45} {'logged' if new else 'unchanged'}")
        logged += new
    say(f"{total} artifacts in the experiment {options.experiment}: {logged} runs logged, {total - logged} unchanged")
    return 0


def _tag(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m algo_modeling", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="train models and write their artifacts")
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--symbols", nargs="+", choices=SYMBOLS, default=list(DEFAULT_SYMBOLS))
    command.add_argument("--types", nargs="+", choices=sorted(STRATEGIES), default=sorted(STRATEGIES))
    command.add_argument("--outer", type=int, default=2, help="outer folds (default 2)")
    command.add_argument("--inner", type=int, default=2, help="inner folds in each (default 2)")
    command.add_argument("--all", action="store_true", help="keep all inner folds, not only the best of each outer one")
    command.set_defaults(run=_train)

    command = commands.add_parser("verify", help="compare artifacts on disk with their manifests")
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.set_defaults(run=_verify)

    command = commands.add_parser("publish", help="upload what differs to S3")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="where train wrote to")
    command.add_argument("--bucket", required=True)
    command.add_argument("--endpoint-url", metavar="URL")
    command.add_argument("--region")
    command.add_argument("--profile")
    command.add_argument("--create-bucket", action="store_true", help="create the bucket if there is none")
    command.add_argument("--bucket-tag", type=_tag, action="append", default=[], metavar="KEY=VALUE")
    command.set_defaults(run=_publish)

    command = commands.add_parser("track", help="log what is new to MLflow, a run for each artifact")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="where train wrote to")
    command.add_argument("--experiment", default=tracking.EXPERIMENT, help=f"default {tracking.EXPERIMENT}")
    command.set_defaults(run=_track)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    expected: tuple[type[Exception], ...] = (
        ValueError,
        artifact.ArtifactError,
        publishing.PublishError,
        tracking.TrackingError,
    )
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        pass
    else:
        expected += (BotoCoreError, ClientError)
    try:
        return int(options.run(options))
    except expected as exc:
        print(f"algo_modeling: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
