"""Presets as the paper prints them, and what a model's identity depends on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.config import (
    DEMO_BACKBONES,
    ENSEMBLE_BACKBONES,
    SINGLE_BACKBONE,
    RunConfig,
    UsageError,
    category_key,
    model_key,
    resolve_members,
)

TABLE = {
    # preset, backbone, image size → s, D, coreset, epochs, lr, levels, aggregation
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
    (member,) = resolve_members(preset, [backbone], size, {})
    assert member.backbone == backbone
    fields = (
        member.patch_size,
        member.dim,
        member.coreset,
        member.epochs,
        member.lr,
        member.levels,
        member.aggregation,
    )
    assert fields == row


def test_a_row_is_chosen_per_member_and_given_fields_hold_for_all() -> None:
    members = resolve_members("ensemble", [SINGLE_BACKBONE, DEMO_BACKBONES[0]], 480, {"coreset": 0.1, "dim": None})
    assert [(m.dim, m.aggregation, m.coreset) for m in members] == [(512, "patchcore", 0.1), (256, "concat", 0.1)]


def config(**changes: object) -> RunConfig:
    members = resolve_members("ensemble", DEMO_BACKBONES[:2], 224, {})
    return replace(RunConfig("ensemble", "data", "out", members, 224), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"members": ()}, "at least one backbone"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE] * 2, 224, {})}, "names a backbone twice"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"patch_size": 4})}, "odd number"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"coreset": 0.0})}, "--coreset"),
        ({"members": resolve_members("ensemble", [SINGLE_BACKBONE], 224, {"epochs": -1})}, "--epochs"),
        ({"image_size": 8}, "--image-size"),
        ({"chunk": 0}, "--chunk"),
        ({"workers": 0}, "--workers"),
        ({"threads_per_unit": 0}, "--threads-per-unit"),
        ({"reweight": 0}, "--reweight"),
        ({"fusion": "mean"}, "--fusion"),
        ({"gpus_per_actor": -1.0}, "--gpus-per-actor"),
        ({"neighbours": 3}, "neighbours"),
        ({"alpha": 1.5}, "alpha"),
    ],
)
def test_bad_values_are_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        config(**changes)


IMAGES = [("c/a.png", "1" * 64), ("c/b.png", "2" * 64)]


def key(images: list[tuple[str, str]] = IMAGES, sha: str = "w", **changes: object) -> str:
    run = config(**changes)
    return model_key(run, run.members[0], sha, images)


MATTERS = {"image_size": 256, "full_frame": True, "chunk": 8, "seed": 1, "sigma": 1.0, "gamma": 0.9, "batch_size": 256}
DOES_NOT = {"workers": 2, "address": "x", "maps": True, "reweight": 1, "fusion": "image", "out": "o", "strict": True}


@pytest.mark.parametrize(("field", "value"), MATTERS.items())
def test_a_models_key_changes_with_what_its_numbers_depend_on(field: str, value: object) -> None:
    assert key(**{field: value}) != key()


@pytest.mark.parametrize(("field", "value"), DOES_NOT.items())
def test_a_models_key_does_not_change_with_the_rest(field: str, value: object) -> None:
    assert key(**{field: value}) == key()


def test_a_models_key_depends_on_its_images_and_weights_but_not_on_their_order() -> None:
    assert key(IMAGES[::-1]) == key()
    assert key(IMAGES[:1]) != key()
    assert key(sha="other") != key()


def test_the_identity_adapters_key_does_not_depend_on_training() -> None:
    members = resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {"epochs": 0})
    others = resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {"epochs": 0, "dim": 64, "lr": 1.0})
    assert key(members=members) == key(members=others, gamma=0.5)


def test_a_categorys_key_depends_on_fusion_and_reweighting() -> None:
    keys = {category_key(config(**changes), ["m"]) for changes in ({}, {"fusion": "image"}, {"reweight": 1})}
    assert len(keys) == 3
