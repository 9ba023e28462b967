"""Default values from the paper's tables (presets) and from recipes."""

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
# Preset -> image size in pixels -> values, from sections 4.1-4.3 of the paper.
PRESETS: Mapping[str, Mapping[int, Member]] = {
    "single": {224: _PAPER_ROW, 480: _PAPER_ROW_480},
    "segmentation": {224: replace(_PAPER_ROW, layers=(1, 2, 3), patch_size=5)},
    "ensemble": {320: replace(_PAPER_ROW, dim=384, epochs=60, lr=1e-6), 480: _PAPER_ROW_480},
}
# Recipe -> values for small backbones, which the paper does not use. docs/accuracy.md describes the trials.
_LITE_ROW = Member(
    backbone="", layers=(2, 3), patch_size=3, aggregation="concat", dim=256, coreset=0.02, epochs=1, lr=1e-3
)
_LITE: Mapping[str, Member] = {
    "default": _LITE_ROW,
    "paper": replace(_LITE_ROW, coreset=0.01, epochs=60, lr=1e-4),
}
_PAPER: Mapping[str, Any] = {"full_frame": False, "batch_images": 0, "max_steps": 0, "holdout": 0.0}
# Recipe -> field -> value, for the fields that the user does not set.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {name: getattr(Recipe, name) for name in _PAPER},
    "paper": _PAPER,
}


def preset_row(preset: str, backbone: str, image_size: int, recipe: str) -> Member:
    """Return the default values of a member, without the name of the backbone.

    Lite backbones have their own values, which depend neither on the preset nor on the image size. For other backbones,
    an image size without values uses those of the next smaller size, or else of the smallest size.

    Args:
        preset: Key of `PRESETS`.
        backbone: Name of the backbone in timm.
        image_size: Side S of the backbone's square input, in pixels.
        recipe: Key of `RECIPES`; only the values of lite backbones depend on it.
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
    """Return the members of a run: the values of a preset, replaced by those that the user set.

    Args:
        preset: Key of `PRESETS`.
        backbones: Names of the backbones in timm, one per member.
        image_size: Side S of the backbones' square input, in pixels.
        overrides: Field of Member -> value for all members; None for a field that the user did not set.
        recipe: Key of `RECIPES`.

    Returns:
        One member per backbone, in the same order.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return tuple(
        replace(preset_row(preset, backbone, image_size, recipe), backbone=backbone, **given) for backbone in backbones
    )


def with_recipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run, completed with the values of its recipe.

    Args:
        options: Field of RunConfig -> value. The recipe sets fields that are missing or None; a missing `recipe` is
            the default recipe.
    """
    recipe = options.get("recipe", Recipe.recipe)
    decided = RECIPES[recipe]
    return {
        **options,
        "recipe": recipe,
        **{name: value for name, value in decided.items() if options.get(name) is None},
    }
