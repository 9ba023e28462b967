"""The rows of the paper's tables, and what a recipe decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.config.member import Member
from pipelines.config.recipe import Recipe

ENSEMBLE_BACKBONES = ("wide_resnet101_2.tv_in1k", "resnext101_32x8d.tv_in1k", "densenet201.tv_in1k")
SINGLE_BACKBONE = "wide_resnet50_2.tv_in1k"
DEMO_BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")

_PAPER_ROW = Member(
    backbone="", layers=(2, 3), patch_size=3, aggregation="patchcore", dim=512, coreset=0.01, epochs=120, lr=1e-5
)
_PAPER_ROW_480 = replace(_PAPER_ROW, patch_size=5, lr=1e-6)
# The paper's sections 4.1-4.3: preset -> image size -> row.
PRESETS: Mapping[str, Mapping[int, Member]] = {
    "single": {224: _PAPER_ROW, 480: _PAPER_ROW_480},
    "segmentation": {224: replace(_PAPER_ROW, layers=(1, 2, 3), patch_size=5)},
    "ensemble": {320: replace(_PAPER_ROW, dim=384, epochs=60, lr=1e-6), 480: _PAPER_ROW_480},
}
# Small networks, by recipe: the paper has none. docs/accuracy.md has the trials behind the default.
_LITE_ROW = Member(
    backbone="", layers=(2, 3), patch_size=3, aggregation="concat", dim=256, coreset=0.02, epochs=1, lr=1e-3
)
_LITE: Mapping[str, Member] = {
    "default": _LITE_ROW,
    "paper": replace(_LITE_ROW, coreset=0.01, epochs=60, lr=1e-4),
}
_PAPER: Mapping[str, Any] = {"full_frame": False, "batch_images": 0, "max_steps": 0, "holdout": 0.0}
# Recipe -> the fields that it decides where the user does not.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {name: getattr(Recipe, name) for name in _PAPER},
    "paper": _PAPER,
}


def preset_row(preset: str, backbone: str, image_size: int, recipe: str) -> Member:
    """Return a preset's row for a member, without the backbone's name.

    Lite networks have a row of their own, the same at every image size. For other networks an image size without a row
    takes that of the next smaller size, or of the smallest.
    """
    if "_lite" in backbone:
        return _LITE[recipe]
    rows = PRESETS[preset]
    smaller = [size for size in rows if size <= image_size]
    return rows[max(smaller) if smaller else min(rows)]


def resolve_members(
    preset: str,
    backbones: Sequence[str],
    image_size: int,
    overrides: Mapping[str, Any],
    *,
    recipe: str = "default",
) -> tuple[Member, ...]:
    """Return the members of a run: each its preset's row, with the fields that the user gave.

    Args:
        preset: a key of `PRESETS`.
        backbones: timm's names.
        image_size: S, in pixels.
        overrides: field of Member -> value for every member; None is not given.
        recipe: a key of `RECIPES`.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return tuple(
        replace(preset_row(preset, backbone, image_size, recipe), backbone=backbone, **given) for backbone in backbones
    )


def with_recipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's options, with the recipe's values for those that are missing or None."""
    recipe = options.get("recipe", Recipe.recipe)
    decided = RECIPES[recipe]
    return {
        **options,
        "recipe": recipe,
        **{name: value for name, value in decided.items() if options.get(name) is None},
    }
