# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verified model: closes in, a position of -1, 0 or 1 out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from algo_modeling import artifact
from algo_modeling.strategies import STRATEGIES, Strategy

from .config import Config, Refusal


@dataclass(frozen=True)
class Model:
    strategy: Strategy
    parameters: dict[str, float]

    def position(self, closes: Sequence[float]) -> int:
        """What it wants to hold after the last of these closes; 0 while it has too few."""
        if not closes:
            return 0
        return int(self.strategy.positions(np.asarray(closes, dtype=np.float64), self.parameters)[-1])


def load(config: Config) -> Model:
    """Refuses what `algo_modeling verify` would refuse, and a model that is not the one that was configured."""
    name, folder = config.model.name, Path(config.model.path)
    if not folder.is_dir():
        raise Refusal(f"There is no model at {folder}; fetch {name} again")
    try:
        files = artifact.read(folder)
        body = json.loads(files["model.json"])
        found = "{type}/{symbol}/{model}-outer_{outer}_inner_{inner}".format_map(body)
        manifest = json.loads(files[artifact.MANIFEST])["name"]
        kind, symbol, form = body["type"], body["symbol"], body["format"]
        parameters = {str(key): float(value) for key, value in body["parameters"].items()}
    except (artifact.ArtifactError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refusal(f"The model {name} in {folder} is not usable: {error}") from error
    if form != artifact.MODEL_FORMAT:
        raise Refusal(f"{folder} has a model of the format {form!r}; this code reads {artifact.MODEL_FORMAT!r}")
    if {found, manifest} != {name}:
        raise Refusal(f"{folder} has the model {found}; the configuration names {name}")
    if symbol != config.symbol:
        raise Refusal(f"The model {name} was trained for {symbol}; the configuration trades {config.symbol}")
    strategy = STRATEGIES.get(kind)
    if strategy is None:
        raise Refusal(f"The model {name} has the type {kind!r}; this code knows {', '.join(sorted(STRATEGIES))}")
    if set(parameters) != set(strategy.grid):
        raise Refusal(f"The model {name} has the parameters {sorted(parameters)}, not {sorted(strategy.grid)}")
    return Model(strategy, parameters)
