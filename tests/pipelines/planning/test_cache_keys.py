"""Tests of cache keys: an option changes the key of the stage that its `redoes` names and of the later stages only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.config.member import Member
from pipelines.config.option import FirstStage, options_of
from pipelines.config.presets import DEMO_BACKBONES, resolve_members, with_recipe
from pipelines.config.recipe import Recipe
from pipelines.config.run_config import Execution, Paths, RunConfig
from pipelines.data.records import ImageRecord
from pipelines.data.split import assign_parts
from pipelines.planning.batches import FeatureSpec, features_key
from pipelines.planning.cache_keys import fused_key, key_of, member_keys, model_version

STAGES: tuple[FirstStage, ...] = ("extract", "fit", "select", "score", "fuse")
CONFIG = RunConfig(
    command="ensemble",
    data="data",
    out="out",
    members=resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}),
    image_size=224,
)
IMAGES = [
    ImageRecord("nut", "train", "good", f"nut/{number}.png", label=0, content_sha256=key_of(number))
    for number in range(20)
]
# A value that differs from CONFIG, for every field that has an option.
OTHERS: dict[str, Any] = {
    "backbone": DEMO_BACKBONES[1],
    "layers": (1, 2),
    "patch_size": 5,
    "aggregation": "patchcore",
    "dim": 64,
    "coreset": 0.1,
    "epochs": 2,
    "lr": 1e-2,
    "init": "white",
    "image_size": 320,
    "full_frame": False,
    "bit_depth": 12,
    "chunk": 8,
    "recipe": "paper",
    "max_steps": 41,
    "batch_size": 256,
    "batch_images": 2,
    "sigma": 1.0,
    "contrastive_neighbors": 6,
    "alpha": 0.4,
    "margin": 2.0,
    "gamma": 0.99,
    "seed": 1,
    "score_neighbors": 5,
    "fusion": "image",
    "holdout": 0.5,
    "false_alarms": 0.05,
    "threads_per_unit": 2,
    "maps": True,
    "report": False,
    "workers": 7,
    "gpus_per_actor": 1.0,
    "address": "auto",
    "scratch_gb": 1.0,
    "keep_features": True,
    "rehash": True,
    "strict": True,
    "data": "elsewhere",
    "layout": "mvtec",
    "columns": "label=kind",
    "categories": ("nut",),
    "weights": "weights",
    "out": "elsewhere",
    "scratch": "elsewhere",
}
OPTIONS = {**options_of(Member), **options_of(Recipe), **options_of(Execution), **options_of(Paths)}


def changed(name: str) -> RunConfig:
    """Return CONFIG with one changed option, as the command line resolves it."""
    if name == "recipe":
        decided = with_recipe({"recipe": OTHERS[name]})
        members = resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}, recipe=OTHERS[name])
        return replace(CONFIG, members=members, **decided)
    if name in options_of(Member):
        return replace(CONFIG, members=tuple(replace(member, **{name: OTHERS[name]}) for member in CONFIG.members))
    return replace(CONFIG, **{name: OTHERS[name]})


def keys(config: RunConfig) -> dict[FirstStage, str]:
    """Return the key of the files that each stage writes."""
    images = assign_parts(IMAGES, config.holdout)
    (member,) = config.members
    features = features_key(FeatureSpec.of(member, config), "0" * 64, config)
    own = member_keys(config, member, features, images)
    fused = fused_key(config, [own.scores], images)
    return dict(zip(STAGES, (own.features, own.adapter, own.model, own.rows, fused), strict=True))


def test_every_option_has_a_changed_value() -> None:
    assert set(OTHERS) == set(OPTIONS)


@pytest.mark.parametrize("name", OTHERS)
def test_an_option_changes_the_keys_from_its_stage_on(name: str) -> None:
    before, after = keys(CONFIG), keys(changed(name))
    redoes = OPTIONS[name].redoes
    expected = () if redoes is None else STAGES[STAGES.index(redoes) :]
    assert tuple(stage for stage in STAGES if before[stage] != after[stage]) == expected


def test_validation_images_change_the_model_version_but_not_the_adapter() -> None:
    (member,) = CONFIG.members
    validation = tuple(
        replace(image, split="validation", image_path=f"v/{number}", content_sha256=f"{number:064x}")
        for number, image in enumerate(IMAGES[:3])
    )
    listings = [assign_parts(images, 0.0) for images in (IMAGES, (*IMAGES, *validation))]
    adapters = {member_keys(CONFIG, member, "features", images).adapter for images in listings}
    assert len(adapters) == 1
    assert len({model_version(CONFIG, ["model"], images) for images in listings}) == 2


def test_the_key_of_the_metrics_depends_on_the_masks_and_on_the_rule_that_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masked = [replace(image, mask_sha256="a" * 64) for image in IMAGES]
    before = [fused_key(CONFIG, ["scores"], images) for images in (IMAGES, masked)]
    monkeypatch.setattr("pipelines.planning.cache_keys._MASK_RULE", 3)
    after = [fused_key(CONFIG, ["scores"], images) for images in (IMAGES, masked)]
    assert after[0] == before[0] != before[1] != after[1]
