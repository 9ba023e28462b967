"""Tests of the presets, which are the paper's values, and of the values that a recipe sets."""

from __future__ import annotations

import pytest

from pipelines.config.presets import DEMO_BACKBONES, ENSEMBLE_BACKBONES, SINGLE_BACKBONE, resolve_members, with_recipe

TABLE = {
    # preset, backbone, image size → s, D, coreset, epochs, lr, layers, aggregation
    ("single", SINGLE_BACKBONE, 224): (3, 512, 0.01, 120, 1e-5, (2, 3), "patchcore"),
    ("segmentation", SINGLE_BACKBONE, 224): (5, 512, 0.01, 120, 1e-5, (1, 2, 3), "patchcore"),
    ("single", ENSEMBLE_BACKBONES[0], 480): (5, 512, 0.01, 120, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 320): (3, 384, 0.01, 60, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[2], 480): (5, 512, 0.01, 120, 1e-6, (2, 3), "patchcore"),
    ("ensemble", DEMO_BACKBONES[0], 224): (3, 256, 0.01, 60, 1e-4, (2, 3), "concat"),
    # Lite backbones have the same values at all sizes. A size without values uses the next smaller, else the smallest.
    ("ensemble", DEMO_BACKBONES[1], 480): (3, 256, 0.01, 60, 1e-4, (2, 3), "concat"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 400): (3, 384, 0.01, 60, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 224): (3, 384, 0.01, 60, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 600): (5, 512, 0.01, 120, 1e-6, (2, 3), "patchcore"),
}


@pytest.mark.parametrize(("key", "row"), TABLE.items(), ids=lambda value: "-".join(map(str, value)))
def test_presets_have_the_values_of_the_paper(key: tuple[str, str, int], row: tuple[object, ...]) -> None:
    preset, backbone, size = key
    (member,) = resolve_members(preset, [backbone], size, {}, recipe="paper")
    assert member.backbone == backbone
    fields = (
        member.patch_size,
        member.dim,
        member.coreset,
        member.epochs,
        member.lr,
        member.layers,
        member.aggregation,
    )
    assert fields == row


def test_the_default_recipe_differs_from_the_papers_as_documented() -> None:
    """docs/accuracy.md describes the differences.

    Small backbones have a larger memory bank and one epoch with a higher learning rate. All backbones use the whole
    image, and the patches of a training step come from four images.
    """
    for size in (224, 480):
        for backbone in (SINGLE_BACKBONE, *ENSEMBLE_BACKBONES):
            default, paper = (
                resolve_members("ensemble", [backbone], size, {}, recipe=recipe) for recipe in ("default", "paper")
            )
            assert default == paper
        (member,) = resolve_members("ensemble", [DEMO_BACKBONES[0]], size, {}, recipe="default")
        assert (member.coreset, member.epochs, member.lr) == (0.02, 1, 1e-3)
    default, paper = (with_recipe({"recipe": recipe}) for recipe in ("default", "paper"))
    assert (default["full_frame"], default["batch_images"]) == (True, 4)
    assert (paper["full_frame"], paper["batch_images"]) == (False, 0)
    assert with_recipe({"recipe": "paper", "full_frame": True})["full_frame"] is True


def test_values_are_chosen_per_member_and_overrides_apply_to_all_members() -> None:
    members = resolve_members("ensemble", [SINGLE_BACKBONE, DEMO_BACKBONES[0]], 480, {"coreset": 0.1, "dim": None})
    assert [(m.dim, m.aggregation, m.coreset) for m in members] == [(512, "patchcore", 0.1), (256, "concat", 0.1)]
