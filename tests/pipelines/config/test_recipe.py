"""Tests of the recipe: errors for invalid values, training options, and options of all fields."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from pipelines.config.option import options_of
from pipelines.config.presets import DEMO_BACKBONES, SINGLE_BACKBONE, resolve_members
from pipelines.config.recipe import Recipe
from pipelines.errors import UsageError

MEMBERS = resolve_members("ensemble", DEMO_BACKBONES[:2], 224, {})
RECIPE = Recipe(members=MEMBERS, image_size=224)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"members": resolve_members("ensemble", [SINGLE_BACKBONE] * 2, 224, {})},
            f"--backbone: {SINGLE_BACKBONE} is given more than once",
        ),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"patch_size": 4})}, "odd number"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"coreset": 0.0})}, "--coreset"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"epochs": -1})}, "--epochs"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"aggregation": "sum"})}, "--aggregation"),
        ({"image_size": 8}, "--image-size"),
        ({"chunk": 0}, "--chunk"),
        ({"threads_per_unit": 0}, "--threads-per-unit"),
        ({"score_neighbors": 0}, "--score-neighbors"),
        ({"fusion": "mean"}, "--fusion"),
        ({"holdout": 1.0}, "--holdout"),
        ({"false_alarms": 0.0}, "--false-alarms"),
        ({"bit_depth": 8}, "--bit-depth"),
        ({"contrastive_neighbors": 3}, "contrastive_neighbors"),
        ({"alpha": 1.5}, "alpha"),
    ],
)
def test_invalid_values_are_an_error(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(RECIPE, **changes)


def test_training_options_come_from_the_recipe_and_the_member() -> None:
    recipe = replace(RECIPE, max_steps=7, contrastive_neighbors=6)
    training = recipe.adapter_config(MEMBERS[0])
    assert (training.max_steps, training.contrastive_neighbors) == (7, 6)
    assert (training.dim, training.epochs, training.init) == (MEMBERS[0].dim, MEMBERS[0].epochs, MEMBERS[0].init)


def test_every_field_has_a_help_text_and_a_repeated_stage() -> None:
    options = options_of(Recipe)
    assert set(options) == {item.name for item in fields(Recipe)} - {"members"}
    assert all(option.help and option.redoes for option in options.values())
