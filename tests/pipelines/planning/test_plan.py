"""Tests of plans: which stages a changed option, image or file makes due after a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig, stored_config
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.planning.jobs import CategoryPlan
from pipelines.planning.plan import cut_waves, plan_category
from pipelines.stages.runner import STAGES
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import RUN, adapter_name, bank_index_name, fused_scores_file, model_folder
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from reconpatch.detector.model import MODEL_FILE
from tests.pipelines.runs import BACKBONES, Finished

NAMES = tuple(stage.name for stage in STAGES)


@pytest.fixture(scope="module")
def state(finished: Finished) -> tuple[Store, RunConfig, dict[str, Network], list[ImageRecord]]:
    """Return directory, configuration, backbones and the images of one category of a finished run."""
    out = Store.of(str(finished.out))
    run_info = out.read_json(RUN)
    config = stored_config(run_info["config"])
    networks = {
        name: Network(weights["source"], weights["sha256"], 144, 152) for name, weights in run_info["weights"].items()
    }
    rows = [row for row in read_rows(out, "index.parquet") if row["category"] == "cloth"]
    return out, config, networks, [ImageRecord(**row) for row in rows]


def due(plan: CategoryPlan) -> dict[str, bool]:
    """Return which stages have due jobs; each stage must have them for all members or for none."""
    jobs = {stage.name: stage.due(plan) for stage in STAGES}
    for name in ("fit", "select", "score"):
        assert len(jobs[name]) in (0, len(plan.members))
    return {name: bool(due) for name, due in jobs.items()}


def planned(
    images: Sequence[ImageRecord], config: RunConfig, networks: Mapping[str, Network], out: Store
) -> CategoryPlan:
    provenance = Provenance("", datetime.now(UTC))
    context = RunContext(config=config, data=Store.of_data(config.data), out=out, scratch=out, provenance=provenance)
    return plan_category("cloth", images, context, networks)


def changed(config: RunConfig, option: str, value: object) -> RunConfig:
    if option in {field.name for field in fields(RunConfig)}:
        return replace(config, **{option: value})
    return replace(config, members=tuple(replace(member, **{option: value}) for member in config.members))


def from_stage(first: str) -> dict[str, bool]:
    """Return the stages from `first` on as due. All but the fusion need features, which the run has deleted."""
    start = NAMES.index(first)
    return {name: NAMES.index(name) >= start or (name == "extract" and first != "fuse") for name in NAMES}


NOTHING = dict.fromkeys(NAMES, False)
TABLE = [
    # every stage
    ("image_size", 128, "extract"),
    ("full_frame", False, "extract"),
    ("layers", (1, 2), "extract"),
    ("patch_size", 5, "extract"),
    ("aggregation", "patchcore", "extract"),
    ("bit_depth", 12, "extract"),
    ("chunk", 8, "extract"),
    ("threads_per_unit", 2, "extract"),
    ("gpus_per_actor", 1.0, "extract"),
    # from the adapter on
    ("init", "white", "fit"),
    ("dim", 64, "fit"),
    ("epochs", 30, "fit"),
    ("max_steps", 41, "fit"),
    ("lr", 1e-2, "fit"),
    ("sigma", 1.0, "fit"),
    ("contrastive_neighbors", 6, "fit"),
    ("alpha", 0.4, "fit"),
    ("margin", 2.0, "fit"),
    ("gamma", 0.99, "fit"),
    ("batch_images", 2, "fit"),
    ("batch_size", 256, "fit"),
    ("seed", 1, "fit"),
    # from the bank on
    ("coreset", 0.04, "select"),
    # from the scores on
    ("score_neighbors", 5, "score"),
    # only the fusion
    ("fusion", "image", "fuse"),
    ("false_alarms", 0.05, "fuse"),
]


@pytest.mark.parametrize(("option", "value", "first"), TABLE, ids=[row[0] for row in TABLE])
def test_an_option_makes_the_stages_that_depend_on_it_due(state, option: str, value: object, first: str) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    plan = planned(images, changed(config, option, value), networks, out)
    expected = from_stage(first)
    if first == "extract":
        expected["fit"] = True
    assert due(plan) == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [("workers", 7), ("address", "x"), ("strict", True), ("scratch", "/s"), ("scratch_gb", 1.0), ("maps", False)],
)
def test_execution_options_make_nothing_due(state, option: str, value: object) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    assert due(planned(images, changed(config, option, value), networks, out)) == NOTHING


def test_other_weights_make_every_stage_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    others = {name: replace(network, sha256="0" * 64) for name, network in networks.items()}
    assert due(planned(images, config, others, out)) == dict.fromkeys(NAMES, True)


def test_another_holdout_makes_every_stage_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    first = next(image for image in images if image.part == "fit")
    moved = [replace(image, part="holdout") if image is first else image for image in images]
    assert due(planned(moved, config, networks, out)) == dict.fromkeys(NAMES, True)


def test_the_order_of_the_images_makes_nothing_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    assert due(planned(images[::-1], config, networks, out)) == NOTHING


def test_only_the_changed_test_image_is_extracted(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    last = next(image for image in images[::-1] if image.split == "test")
    now = [replace(image, content_sha256="1" * 64) if image is last else image for image in images]
    plan = planned(now, config, networks, out)
    assert due(plan) == from_stage("score")
    assert [[image.image_path for image in batch.images] for batch in plan.batches] == [[last.image_path]] * 2


def test_a_removed_test_image_makes_only_scores_and_fusion_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    plan = planned(images[:-1], config, networks, out)
    assert due(plan) == {**from_stage("score"), "extract": False}


def test_a_changed_training_image_makes_every_stage_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    first = next(image for image in images if image.part == "fit")
    now = [replace(image, content_sha256="1" * 64) if image is first else image for image in images]
    assert due(planned(now, config, networks, out)) == dict.fromkeys(NAMES, True)


def test_a_changed_mask_makes_only_the_fusion_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    now = [replace(image, mask_sha256="1" * 64) if image.mask_path else image for image in images]
    assert due(planned(now, config, networks, out)) == from_stage("fuse")


def test_missing_maps_make_the_fusion_due(state) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, _ = state
    rows = [row for row in read_rows(out, "index.parquet") if row["category"] == "cloth"]
    elsewhere = Store(out.filesystem, out.root + "-nowhere", "")
    assert planned([ImageRecord(**row) for row in rows], config, networks, elsewhere).fuse is not None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (f"{model_folder('cloth')}/{adapter_name(BACKBONES[0])}", "fit"),
        (f"{model_folder('cloth')}/{bank_index_name(BACKBONES[0])}", "select"),
        (f"{model_folder('cloth')}/{MODEL_FILE}", "fuse"),
        (fused_scores_file("cloth"), "fuse"),
    ],
)
def test_a_lost_file_makes_its_stage_due(state, tmp_path, name: str, first: str) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    copy = Store.of(str(tmp_path))
    for info in out.files():
        if out.name_of(info) != name:
            copy.write(out.name_of(info), out.read(out.name_of(info)))
    plan = planned(images, config, networks, copy)
    job = next(job for job in plan.members if job.backbone == BACKBONES[0])
    expected = from_stage(first)
    assert (job.fit, job.select, job.score, plan.fuse is not None) == tuple(expected[name] for name in NAMES[1:])


def test_a_damaged_file_makes_its_stage_due(state, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out, config, networks, images = state
    copy = Store.of(str(tmp_path))
    for info in out.files():
        copy.write(
            out.name_of(info),
            b"garbage" if out.name_of(info).endswith("memory_bank.safetensors") else out.read(out.name_of(info)),
        )
    assert due(planned(images, config, networks, copy)) == from_stage("select")


def plan_of(name: str, scratch_bytes: int) -> CategoryPlan:
    return CategoryPlan(
        category=name, images=(), members=(), batches=(), fuse=None, version="", scratch_bytes=scratch_bytes
    )


def test_the_features_of_a_wave_fit_into_the_limit() -> None:
    plans = [plan_of(name, size) for name, size in (("a", 4), ("b", 5), ("c", 2), ("d", 30), ("e", 0), ("f", 9))]
    waves = [[plan.category for plan in wave] for wave in cut_waves(plans, [plan.scratch_bytes for plan in plans], 10)]
    assert waves == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_scratch_bytes_include_the_copy_of_the_fit_features(state) -> None:  # type: ignore[no-untyped-def]
    """A new run needs the features of all images and a copy of those of the fit images; scoring alone needs no copy."""
    out, config, networks, images = state
    nowhere = Store(out.filesystem, out.root + "-nowhere", "")
    fitted = sum(image.part == "fit" for image in images)
    halves = len(networks) * 144 * 152 * 2
    for option, value, copies in (("epochs", 0, 1), ("dim", 64, 1), ("dim", 256, 2)):
        plan = planned(images, changed(config, option, value), networks, nowhere)
        assert plan.scratch_bytes == halves * (len(images) + copies * fitted)
    rescored = planned(images, changed(config, "score_neighbors", 3), networks, out)
    assert rescored.scratch_bytes == halves * len(images)
