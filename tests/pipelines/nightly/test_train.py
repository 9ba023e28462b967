"""Training of a nightly run: which categories are trained, in which order, and the result for each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipelines.config.networks import Network, Networks
from pipelines.data.records import ImageRecord
from pipelines.nightly import train
from pipelines.nightly.candidates import Candidate
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightTask
from pipelines.nightly.train import train_categories
from pipelines.planning.batches import ImageBatch
from pipelines.planning.jobs import CategoryPlan
from pipelines.planning.plan import plan_category
from pipelines.registry.history import RegistryEvent, append_event
from pipelines.registry.statuses import EventType
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import model_folder
from pipelines.storage.schemas import TRAIN
from reconpatch.detector.model import Model
from reconpatch.detector.model_json import to_json
from reconpatch.evaluation.acceptance import AcceptanceResult, AcceptanceStatus
from tests.pipelines.runs import MEMBER

NETWORK = Network("package", "ab" * 32, 144, 152)


class _Networks(Networks):
    """Networks whose weights are not checked."""

    def add(self, model: Model) -> None:
        pass


@dataclass
class Trainer:
    """Fake extraction, training and acceptance test.

    Attributes:
        night: Nightly run.
        steps: Name and categories of each step, in order.
        batches: Extracted batches.
        failed: Categories whose training fails.
        results: category -> result of its acceptance test, None if the test fails; passed by default.
        tested: Candidates that were tested.
    """

    night: NightRun
    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    batches: list[ImageBatch] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    results: dict[str, AcceptanceResult | None] = field(default_factory=dict)
    tested: list[Candidate] = field(default_factory=list)

    def extract(self, batches: Sequence[ImageBatch], label: str = "") -> None:
        self.batches += batches
        self.steps.append(("extract", sorted({batch.category for batch in batches})))

    def bring_up_to_date(self, plans: Sequence[CategoryPlan], label: str = "") -> None:
        self.steps.append(("train", [plan.category for plan in plans]))
        for plan in plans:
            assert plan.fuse is not None
            if plan.category in self.failed:
                self.night.record.category_failed(plan.category, "fit", "a worker died")
            else:
                folder = self.night.work.below(model_folder(plan.category))
                folder.write("model.json", to_json(plan.fuse.model).encode())

    def test(self, runner: Runner, candidates: Sequence[Candidate], *_: Any) -> dict[str, AcceptanceResult]:
        self.tested += candidates
        self.steps.append(("test", [candidate.category for candidate in candidates]))
        passed = AcceptanceResult(AcceptanceStatus.PASSED, (), 30)
        results = {candidate.category: self.results.get(candidate.category, passed) for candidate in candidates}
        return {category: result for category, result in results.items() if result is not None}

    def free(self, categories: Sequence[str]) -> None:
        self.steps.append(("free", list(categories)))


@pytest.fixture
def night(night_of: Callable[..., NightRun]) -> NightRun:
    night = night_of()
    night.networks = _Networks({MEMBER.backbone: NETWORK}, None)
    return night


@pytest.fixture
def trainer(night: NightRun, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer(night)
    for name in ("extract", "bring_up_to_date", "free"):
        step = getattr(trainer, name)
        monkeypatch.setattr(Runner, name, lambda self, *arguments, step=step: step(*arguments))
    monkeypatch.setattr(train, "run_acceptance_tests", trainer.test)
    return trainer


def image(category: str, number: int, split: str, part: str | None, *, label: int = 0) -> ImageRecord:
    path = f"{category}/{split}/{number}.png"
    return ImageRecord(category, split, None, path, None, label, part, 100, 100, f"content of {path}")


def plan_of(night: NightRun, category: str, *, more: int = 0) -> CategoryPlan:
    """Return the plan of a category with 4 + `more` fit images and 3 calibration images."""
    images = [image(category, number, "train", "fit") for number in range(4 + more)]
    images += [image(category, 100 + number, "train", "holdout") for number in range(3)]
    return plan_category(category, images, night.runner.context, night.networks.by_backbone)


def make_active(night: NightRun, plan: CategoryPlan) -> None:
    """Make the model of a plan the active one, as an earlier nightly run does."""
    assert plan.fuse is not None
    folder = night.registry.version(plan.category, plan.version)
    folder.write("model.json", to_json(plan.fuse.model).encode())
    write_rows(folder, "train.parquet", [image.row() for image in plan.images], TRAIN)
    night.registry.of(plan.category).write("current", f"{plan.version}\n".encode())
    note(night, plan, EventType.PROMOTED)


def note(night: NightRun, plan: CategoryPlan, event: EventType, **more: Any) -> None:
    append_event(
        night.registry.of(plan.category), RegistryEvent(event=event, version=plan.version, at="2026-01-01", **more)
    )


def learned(night: NightRun) -> dict[str, str | None]:
    return {name: row.learned for name, row in night.categories.items()}


def test_a_category_whose_images_have_not_changed_is_not_trained(night: NightRun, trainer: Trainer) -> None:
    plan = plan_of(night, "bolt")
    make_active(night, plan)
    train_categories(night, [plan], {})
    assert learned(night) == {"bolt": "unchanged"}
    assert trainer.steps == []


@pytest.mark.parametrize("event", [EventType.REJECTED, EventType.SET_ASIDE])
def test_a_rejected_or_replaced_version_is_on_hold_until_its_images_change(
    night: NightRun, trainer: Trainer, event: EventType
) -> None:
    plan = plan_of(night, "bolt")
    note(night, plan, event)
    train_categories(night, [plan], {})
    assert learned(night) == {"bolt": "on hold"}
    train_categories(night, [plan_of(night, "bolt", more=1)], {})
    assert learned(night) == {"bolt": "passed"}


def test_a_resumed_run_reports_its_earlier_decisions(night: NightRun, trainer: Trainer) -> None:
    rejected, promoted = plan_of(night, "bolt"), plan_of(night, "nut")
    run_id = night.record.run_id
    note(night, rejected, EventType.REJECTED, reasons=("It is worse.", "By far."), run_id=run_id)
    make_active(night, promoted)
    status = AcceptanceStatus.INCONCLUSIVE
    note(night, promoted, EventType.PROMOTED, status=status, reasons=("Too few.",), run_id=run_id)
    train_categories(night, [rejected, promoted], {})
    assert trainer.steps == []
    assert learned(night) == {"bolt": "rejected", "nut": "inconclusive"}
    assert night.row("bolt").reasons == "It is worse. By far."
    assert night.row("nut").candidate == promoted.version


def test_candidates_are_extracted_trained_tested_and_promoted(night: NightRun, trainer: Trainer) -> None:
    plans = [plan_of(night, "bolt"), plan_of(night, "nut")]
    trainer.results["nut"] = AcceptanceResult(AcceptanceStatus.INCONCLUSIVE, ("Too few.", "Add some."), 3)
    train_categories(night, plans, {})
    both = ["bolt", "nut"]
    assert trainer.steps == [("extract", both), ("train", both), ("test", both), ("free", both)]
    assert learned(night) == {"bolt": "passed", "nut": "inconclusive"}
    for plan in plans:
        assert night.registry.current(plan.category) == plan.version == night.row(plan.category).candidate
    assert night.row("nut").reasons == "Too few. Add some."
    (event,) = night.registry.history("nut")
    assert (event.status, event.run_id) == (AcceptanceStatus.INCONCLUSIVE, night.record.run_id)


def test_images_of_the_acceptance_test_are_extracted_with_the_training_images(
    night: NightRun, trainer: Trainer
) -> None:
    """A single extraction starts faster than two."""
    train_categories(night, [plan_of(night, "bolt")], {})
    kinds = {(image.part, batch.spec.pasted) for batch in trainer.batches for image in batch.images}
    assert kinds == {("fit", False), ("holdout", False), ("holdout", True)}


def test_labeled_images_are_compared_with_the_active_model(night: NightRun, trainer: Trainer) -> None:
    make_active(night, plan_of(night, "bolt"))
    labeled = {"bolt": [image("bolt", 0, "test", None), image("bolt", 1, "test", None, label=1)]}
    train_categories(night, [plan_of(night, "bolt", more=1)], labeled)
    (candidate,) = trainer.tested
    assert candidate.labeled == tuple(labeled["bolt"])
    assert candidate.active.stored is not None
    assert candidate.active.stored.model.version == plan_of(night, "bolt").version


def test_a_rejected_candidate_causes_a_warning_and_the_active_model_stays(night: NightRun, trainer: Trainer) -> None:
    active, plan = plan_of(night, "bolt"), plan_of(night, "bolt", more=1)
    make_active(night, active)
    trainer.results["bolt"] = AcceptanceResult(AcceptanceStatus.REJECTED, ("It is worse.",), 30)
    train_categories(night, [plan], {})
    assert learned(night) == {"bolt": "rejected"}
    assert night.record.warnings == [
        f"bolt: candidate {plan.version} was rejected by the acceptance test. It is worse."
    ]
    assert night.registry.current("bolt") == active.version


def test_a_failed_training_or_test_does_not_affect_other_categories(night: NightRun, trainer: Trainer) -> None:
    trainer.failed, trainer.results["nut"] = {"bolt"}, None
    train_categories(night, [plan_of(night, category) for category in ("bolt", "cloth", "nut")], {})
    assert [candidate.category for candidate in trainer.tested] == ["cloth", "nut"]
    assert learned(night) == {"bolt": "failed", "cloth": "passed", "nut": "failed"}
    assert night.registry.categories() == ["cloth"]


def test_a_version_in_the_registry_is_tested_without_training(night: NightRun, trainer: Trainer) -> None:
    """The images of an earlier version were restored."""
    old, new = plan_of(night, "bolt"), plan_of(night, "bolt", more=1)
    make_active(night, old)
    make_active(night, new)
    train_categories(night, [old], {})
    assert [names for step, names in trainer.steps if step == "train"] == [[]]
    (candidate,) = trainer.tested
    assert candidate.model.folder == night.registry.version("bolt", old.version)
    assert learned(night) == {"bolt": "passed"}
    assert night.costs.measured == {}  # without training there is no measurement


def test_the_cost_of_training_is_divided_in_proportion_to_images(night: NightRun, trainer: Trainer) -> None:
    train_categories(night, [plan_of(night, "bolt"), plan_of(night, "nut", more=7)], {})
    costs = night.costs.measured[NightTask.TRAIN]
    assert {category: cost.images for category, cost in costs.items()} == {"bolt": 7, "nut": 14}
    assert costs["nut"].seconds == pytest.approx(2 * costs["bolt"].seconds)


def test_after_the_deadline_categories_are_deferred(
    night: NightRun, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NightRun, "seconds_left", lambda self: -1.0)
    train_categories(night, [plan_of(night, "bolt")], {})
    assert trainer.steps == []
    assert learned(night) == {"bolt": "deferred"}


def test_time_is_reserved_for_scoring_the_new_images(
    night: NightRun, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring the categories in the registry takes 80 s of the 100 s, too much for 30 s of training."""
    monkeypatch.setattr(NightRun, "seconds_left", lambda self: 100.0)
    make_active(night, plan_of(night, "nut"))
    night.costs.note(NightTask.TRAIN, 24.0, {"bolt": 7})  # 30 s with the safety factor
    night.costs.note(NightTask.SCORE, 64.0, {"nut": 5})  # 80 s
    train_categories(night, [plan_of(night, "bolt")], {})
    assert learned(night) == {"bolt": "deferred"}
    night.costs.note(NightTask.SCORE, 48.0, {"nut": 5})  # 60 s
    train_categories(night, [plan_of(night, "bolt")], {})
    assert learned(night) == {"bolt": "passed"}


def test_scratch_space_is_reserved_for_the_images_of_the_acceptance_test(night: NightRun, trainer: Trainer) -> None:
    """Two categories that fit together only without these images are trained one after the other."""
    plans = [plan_of(night, "bolt"), plan_of(night, "nut")]
    gigabytes = sum(plan.scratch_bytes for plan in plans) / 1e9
    config = replace(night.config, scratch_gb=gigabytes)
    night.runner = replace(night.runner, context=replace(night.runner.context, config=config))
    train_categories(night, plans, {})
    assert [names for step, names in trainer.steps if step == "train"] == [["bolt"], ["nut"]]
