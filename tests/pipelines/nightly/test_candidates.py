"""Candidates before training: the images of the acceptance test, and that the same images are extracted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from pipelines.config.networks import Network, Networks
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.errors import ModelError, StoreUnavailableError
from pipelines.nightly import candidates
from pipelines.nightly.candidates import (
    ActiveModel,
    Candidate,
    ImageKind,
    Role,
    acceptance_batches,
    acceptance_requests,
    may_be_intact,
    plan_candidate,
)
from pipelines.planning.plan import CategoryPlan, plan_category
from pipelines.registry.registry import Registry
from pipelines.storage.parquet import write_rows
from pipelines.storage.schemas import TRAIN, Provenance
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.model import Model
from reconpatch.detector.model_json import to_json
from tests.pipelines.runs import MEMBER

CONFIG = RunConfig(command="nightly", data="/data", out="/out", members=(MEMBER,), image_size=96)
NETWORKS = {MEMBER.backbone: Network("package", "ab" * 32, 144, 152)}
SOURCE = Store.of("/data")


def image(name: str, part: str | None = None, label: int | None = 0, side: int = 100) -> ImageRecord:
    split = "train" if part else "test"
    path = f"bolt/{split}/{name}.png"
    return ImageRecord("bolt", split, None, path, None, label, part, side, side, f"content of {name}")


GOOD = [image(f"fit{number}", "fit") for number in range(3)] + [
    image(f"held{number}", "holdout") for number in range(3)
]
TESTS = [image("whole"), image("bent", label=1), image("unknown", label=None)]


@pytest.fixture
def work(tmp_path: Path) -> Store:
    return Store.of(str(tmp_path / "work"))


@pytest.fixture
def plan(work: Store) -> CategoryPlan:
    provenance = Provenance("", datetime.now(UTC))
    context = RunContext(config=CONFIG, data=SOURCE, out=work, scratch=work, provenance=provenance)
    return plan_category("bolt", GOOD, context, NETWORKS)


def planned(plan: CategoryPlan, work: Store, active: ActiveModel, tests: Sequence[ImageRecord] = TESTS) -> Candidate:
    return plan_candidate(plan, tests, active, config=CONFIG, folder=work.below("models/bolt"))


@pytest.fixture
def stored(plan: CategoryPlan, work: Store) -> StoredModel:
    """Active model with the same backbones as the run."""
    model = planned(plan, work, ActiveModel()).model.model
    return StoredModel(replace(model, version="active"), work.below("active"))


def paths(images: Sequence[ImageRecord]) -> list[str]:
    return [image.image_path for image in images]


def test_a_first_model_is_tested_on_calibration_images_alone(plan: CategoryPlan, work: Store) -> None:
    candidate = planned(plan, work, ActiveModel())
    assert paths(candidate.good) == [f"bolt/train/held{number}.png" for number in range(3)]
    assert candidate.labeled == ()
    assert (candidate.category, candidate.model.model.version) == ("bolt", plan.version)


def test_labeled_images_are_compared_with_the_active_model(
    plan: CategoryPlan, work: Store, stored: StoredModel
) -> None:
    candidate = planned(plan, work, ActiveModel(stored=stored))
    assert paths(candidate.labeled) == ["bolt/test/whole.png", "bolt/test/bent.png"]
    assert planned(plan, work, ActiveModel(stored=stored), TESTS[1:]).labeled == ()  # no good image remains


def test_neither_model_is_tested_on_images_that_it_was_fitted_on(
    plan: CategoryPlan, work: Store, stored: StoredModel
) -> None:
    fitted = frozenset({"content of held1", "content of whole"})
    candidate = planned(plan, work, ActiveModel(stored=stored, fitted=fitted))
    assert paths(candidate.good) == ["bolt/train/held0.png", "bolt/train/held2.png"]
    assert candidate.labeled == ()


def test_images_without_room_for_a_defect_are_left_out(plan: CategoryPlan, work: Store) -> None:
    narrow = replace(plan, images=(*plan.images, image("strip", "holdout", side=12)))
    assert "bolt/train/strip.png" not in paths(planned(narrow, work, ActiveModel()).good)


def test_the_number_of_images_is_limited_by_their_digests(
    plan: CategoryPlan, work: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_MOST_IMAGES", 2)
    assert paths(planned(plan, work, ActiveModel()).good) == ["bolt/train/held0.png", "bolt/train/held1.png"]


def test_both_models_score_the_same_images(plan: CategoryPlan, work: Store, stored: StoredModel) -> None:
    requests = acceptance_requests(planned(plan, work, ActiveModel(stored=stored)), SOURCE)
    assert [(request.role, request.kind) for request in requests] == [
        (role, kind) for role in (Role.CANDIDATE, Role.ACTIVE) for kind in ImageKind
    ]
    half = len(requests) // 2
    for own, of_active in zip(requests[:half], requests[half:], strict=True):
        assert own.scoring.images == of_active.scoring.images
        assert own.scoring.pasted == of_active.scoring.pasted == (own.kind is ImageKind.COPIES)


def test_the_images_extracted_before_training_are_those_scored_after_it(
    plan: CategoryPlan, work: Store, stored: StoredModel
) -> None:
    candidate = planned(plan, work, ActiveModel(stored=stored))
    extracted = {batch.shard for batch in acceptance_batches(candidate, SOURCE, NETWORKS, CONFIG)}
    folder = work.below("trained")
    folder.write("model.json", to_json(replace(candidate.model.model, threshold=None)).encode())
    trained = candidate.trained(folder)
    assert trained.model.folder == folder
    needed = {
        batch.shard
        for request in acceptance_requests(trained, SOURCE)
        for member in request.scoring.batches(NETWORKS, CONFIG)
        for batch in member
    }
    assert extracted == needed  # includes the requests of the active model, which has the same backbones
    assert len(extracted) == 3  # good images, copies with defects, labeled images


def test_features_that_only_the_active_model_needs_are_not_extracted_before_training(
    plan: CategoryPlan, work: Store, stored: StoredModel
) -> None:
    (member,) = stored.model.members
    other = replace(stored, model=replace(stored.model, members=(replace(member, layers=(1, 2)),)))
    alone = acceptance_batches(planned(plan, work, ActiveModel(stored=stored)), SOURCE, NETWORKS, CONFIG)
    assert acceptance_batches(planned(plan, work, ActiveModel(stored=other)), SOURCE, NETWORKS, CONFIG) == alone


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store.of(str(tmp_path / "registry")))


def activate(registry: Registry, model: Model) -> Store:
    folder = registry.version("bolt", model.version)
    folder.write("model.json", to_json(model).encode())
    rows = [
        {"category": "bolt", "image_path": f"{part}.png", "content_sha256": part, "part": part}
        for part in ("fit", "holdout")
    ]
    write_rows(folder, "train.parquet", rows, TRAIN)
    registry.of("bolt").write("current", f"{model.version}\n".encode())
    return folder


def test_the_active_model_is_read_with_the_images_that_it_was_fitted_on(
    registry: Registry, stored: StoredModel
) -> None:
    assert ActiveModel.read(registry, "bolt") == ActiveModel()
    assert not ActiveModel.read(registry, "bolt").exists
    folder = activate(registry, stored.model)
    active = ActiveModel.read(registry, "bolt")
    assert active == ActiveModel(stored=StoredModel(stored.model, folder), fitted=frozenset({"fit"}))
    assert active.exists


@pytest.mark.parametrize("name", ["model.json", "train.parquet"])
def test_a_damaged_active_model_is_reported_and_does_not_raise(
    registry: Registry, stored: StoredModel, name: str
) -> None:
    activate(registry, stored.model).write(name, b"{")
    active = ActiveModel.read(registry, "bolt")
    assert active.stored is None
    assert active.exists
    assert name in active.error


def test_an_active_model_whose_weights_have_changed_cannot_be_used(stored: StoredModel) -> None:
    class Changed(Networks):
        def add(self, model: Model) -> None:
            raise ModelError("weights have changed")

    active = ActiveModel(stored=stored, fitted=frozenset({"fit"}))
    without = active.with_networks(Changed({}, None))
    assert (without.stored, without.error) == (None, "weights have changed")
    assert without.fitted == active.fitted
    assert ActiveModel().with_networks(Changed({}, None)) == ActiveModel()


@pytest.mark.parametrize(
    ("error", "intact"),
    [
        (StoreUnavailableError("busy"), True),
        (OSError(5, "Input/output error"), True),
        (WorkerCrashedError(), True),
        (RayTaskError("score", "", StoreUnavailableError("busy")), True),
        (RayTaskError("score", "", ValueError("damaged")), False),
        (FileNotFoundError(2, "no such file"), False),
        (ModelError("damaged"), False),
    ],
)
def test_unavailable_stores_and_dead_processes_do_not_mean_that_the_model_is_damaged(
    error: Exception, intact: bool
) -> None:
    assert may_be_intact(error) == intact
