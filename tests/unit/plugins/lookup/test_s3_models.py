# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup's documentation agrees with its code. What it does is tested against a real S3 server."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
import yaml

pytest.importorskip("ansible_collections.amazon.aws.plugins.plugin_utils.lookup", reason="amazon.aws is its base")

from ansible_collections.algo.trading.plugins.lookup import s3_models
from ansible_collections.algo.trading.plugins.module_utils import models


def test_every_field_of_a_model_is_documented_and_no_other() -> None:
    documented = yaml.safe_load(s3_models.RETURN)["_list"]["contains"]
    assert list(documented) == [field.name for field in dataclasses.fields(models.Model)]


def test_the_sample_of_each_field_is_one() -> None:
    documented = yaml.safe_load(s3_models.RETURN)["_list"]["contains"]
    sample = {name: field["sample"] for name, field in documented.items()}
    assert models.Model.from_dict(sample).as_dict() == sample
    assert sample["status"] in t.get_args(models.Status)
    assert models.compile_pattern(models.DEFAULT_PATTERN).fullmatch(sample["key"])


def test_the_documented_defaults_are_those_of_the_listing() -> None:
    options = yaml.safe_load(s3_models.DOCUMENTATION)["options"]
    assert "default" not in options["prefix"]
    assert models.literal_prefix(models.DEFAULT_PATTERN) == models.DEFAULT_PREFIX
    assert {name for name in options if options[name].get("aliases")} == set(models.FILTERS)


def test_a_long_list_is_cut_short_with_a_count() -> None:
    assert s3_models._some(["a", "b"]) == "a, b"
    assert s3_models._some(list("abcdefg")) == "a, b, c, d, e and 2 more"
