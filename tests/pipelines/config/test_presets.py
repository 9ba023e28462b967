"""Presets as the paper prints them, and what a recipe decides."""

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
    # a lite network takes its row at any size; a size without a row the nearest smaller one, else the smallest
    ("ensemble", DEMO_BACKBONES[1], 480): (3, 256, 0.01, 60, 1e-4, (2, 3), "concat"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 400): (3, 384, 0.01, 60, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 224): (3, 384, 0.01, 60, 1e-6, (2, 3), "patchcore"),
    ("ensemble", ENSEMBLE_BACKBONES[0], 600): (5, 512, 0.01, 120, 1e-6, (2, 3), "patchcore"),
}


@pytest.mark.parametrize(("key", "row"), TABLE.items(), ids=lambda value: "-".join(map(str, value)))
def test_presets_are_the_papers(key: tuple[str, str, int], row: tuple[object, ...]) -> None:
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


def test_the_default_recipe_differs_where_trials_say_so() -> None:
    """docs/accuracy.md: small networks have a larger bank and one epoch at a rate that moves f; all look at the whole
    picture, and a step's patches come from four images."""
    for size in (224, 480):
        for backbone in (SINGLE_BACKBONE, *ENSEMBLE_BACKBONES):
            default, paper = (
                resolve_members("ensemble", [backbone], size, {}, recipe=each) for each in ("default", "paper")
            )
            assert default == paper
        (member,) = resolve_members("ensemble", [DEMO_BACKBONES[0]], size, {}, recipe="default")
        assert (member.coreset, member.epochs, member.lr) == (0.02, 1, 1e-3)
    default, paper = (with_recipe({"recipe": each}) for each in ("default", "paper"))
    assert (default["full_frame"], default["batch_images"]) == (True, 4)
    assert (paper["full_frame"], paper["batch_images"]) == (False, 0)
    assert with_recipe({"recipe": "paper", "full_frame": True})["full_frame"] is True


def test_a_row_is_chosen_per_member_and_given_fields_hold_for_all() -> None:
    members = resolve_members("ensemble", [SINGLE_BACKBONE, DEMO_BACKBONES[0]], 480, {"coreset": 0.1, "dim": None})
    assert [(m.dim, m.aggregation, m.coreset) for m in members] == [(512, "patchcore", 0.1), (256, "concat", 0.1)]
