"""Acceptance test of a nightly run: the decision from the scores, and the files in the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.nightly_options import AcceptanceConfig
from pipelines.data.records import ImageRecord
from pipelines.errors import StoreUnavailableError
from pipelines.nightly.candidates import ActiveModel, Candidate
from pipelines.nightly.promote import register, run_acceptance_tests
from pipelines.registry.registry import Registry
from pipelines.registry.statuses import EventType
from pipelines.stages.predict import ScoringRequest
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import write_rows
from pipelines.storage.schemas import AUDIT
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from reconpatch.evaluation.acceptance import AcceptanceResult, AcceptanceStatus

MEMBER = MemberModel("lite0", (2, 3), 3, "concat", 0, "package x", "ab" * 32, "cd" * 32)
Answer = Callable[[ScoringRequest], "pa.Table | Exception"]


def model(version: str) -> Model:
    return Model("bolt", version, (MEMBER,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)


def images(count: int) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord("bolt", "train", "good", f"bolt/{number}.png", content_sha256=f"{number:064}", label=0)
        for number in range(count)
    )


def write_audit(folder: Store, suspicious: int) -> None:
    rows = [
        {"category": "bolt", "image_path": f"bolt/{number}.png", "is_suspicious": number < suspicious}
        for number in range(40)
    ]
    write_rows(folder, "audit.parquet", rows, AUDIT)


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    """Candidate with thirty calibration images and an active model."""
    folder = Store.of(str(tmp_path / "candidate"))
    folder.write("model.json", to_json(model("new")).encode())
    write_audit(folder, suspicious=0)
    active = StoredModel(model("old"), Store.of(str(tmp_path / "active")))
    stored = StoredModel(model("new"), folder)
    return Candidate(model=stored, good=images(30), labeled=(), active=ActiveModel(stored=active))


def table(request: ScoringRequest, apart: float = 5.0) -> pa.Table:
    """Return scores in which images with a pasted defect are higher by `apart` on average."""
    scores = np.random.default_rng(0).normal(size=len(request.images)) + apart * request.pasted
    return pa.table({"image_path": [image.image_path for image in request.images], "score": scores})


@pytest.fixture
def tested(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AcceptanceResult | None]:
    """Return a function that tests a candidate whose scoring requests are answered by a given function."""

    def test(candidate: Candidate, answer: Answer, **options: float) -> AcceptanceResult | None:
        def score_requests(
            runner: Runner, requests: Sequence[ScoringRequest], networks: Any
        ) -> Iterator[tuple[int, pa.Table | Exception]]:
            yield from ((number, answer(request)) for number, request in enumerate(requests))

        monkeypatch.setattr("pipelines.nightly.promote.score_requests", score_requests)
        return run_acceptance_tests(runner, [candidate], {}, AcceptanceConfig(**options)).get("bolt")

    return test


def of_active(request: ScoringRequest) -> bool:
    return request.stored.model.version == "old"


def test_a_candidate_as_good_as_the_active_model_passes(candidate: Candidate, tested: Any) -> None:
    result = tested(candidate, table)
    assert (result.status, result.reasons, result.images) == (AcceptanceStatus.PASSED, (), 30)
    assert [comparison.of for comparison in result.comparisons] == ["pasted"]


def test_a_candidate_that_does_not_respond_to_defects_is_rejected(candidate: Candidate, tested: Any) -> None:
    def answer(request: ScoringRequest) -> pa.Table:
        return table(request, apart=5.0 if of_active(request) else 0.0)

    assert tested(candidate, answer).status is AcceptanceStatus.REJECTED
    assert tested(candidate, answer, margin=1.0).status is AcceptanceStatus.PASSED


def test_scores_are_compared_per_image_in_any_order(candidate: Candidate, tested: Any) -> None:
    def answer(request: ScoringRequest) -> pa.Table:
        rows = table(request)
        return rows.take(list(reversed(range(rows.num_rows)))) if of_active(request) else rows

    (comparison,) = tested(candidate, answer).comparisons
    assert comparison.candidate == comparison.active
    assert comparison.worse == 0.0


def test_too_many_training_outliers_reject_a_candidate(candidate: Candidate, tested: Any) -> None:
    write_audit(candidate.model.folder, suspicious=4)
    result = tested(candidate, table)
    assert result.status is AcceptanceStatus.REJECTED
    assert "4 of 40 good images are training outliers (bolt/0.png, bolt/1.png, bolt/2.png)" in result.reasons[0]
    assert tested(candidate, table, suspects=1.0).status is AcceptanceStatus.PASSED


def test_an_active_model_that_cannot_be_scored_makes_the_test_inconclusive(candidate: Candidate, tested: Any) -> None:
    result = tested(candidate, lambda request: ValueError("bank is damaged") if of_active(request) else table(request))
    assert (result.status, result.comparisons) == (AcceptanceStatus.INCONCLUSIVE, ())
    assert result.reasons == ("The active model could not be compared: bank is damaged",)
    unread = replace(candidate, active=ActiveModel(error="model.json is damaged"))
    assert tested(unread, table).reasons == ("The active model could not be compared: model.json is damaged",)


def test_an_active_model_in_an_unavailable_store_fails_the_category(
    candidate: Candidate, tested: Any, runner: Runner
) -> None:
    busy = StoreUnavailableError("the store is busy")
    assert tested(candidate, lambda request: busy if of_active(request) else table(request)) is None
    assert runner.record.failed == {"bolt": "acceptance test: the store is busy"}


def test_a_candidate_that_cannot_be_scored_has_failed(candidate: Candidate, tested: Any, runner: Runner) -> None:
    broken = ValueError("bank is damaged")
    assert tested(candidate, lambda request: table(request) if of_active(request) else broken) is None
    assert runner.record.failed == {"bolt": "acceptance test: bank is damaged"}


def test_a_candidate_whose_images_were_removed_has_failed(candidate: Candidate, tested: Any, runner: Runner) -> None:
    assert tested(candidate, lambda request: table(request).slice(1)) is None
    assert "Images of the acceptance test were removed after they were indexed" in runner.record.failed["bolt"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store.of(str(tmp_path / "registry")))


def test_a_candidate_that_passed_becomes_the_active_version(registry: Registry, candidate: Candidate) -> None:
    result = AcceptanceResult(AcceptanceStatus.INCONCLUSIVE, ("Too few.",), 3)
    register(registry, candidate, result, run_id="ab")
    assert registry.current("bolt") == "new"
    (event,) = registry.history("bolt")
    assert (event.event, event.status, event.reasons, event.run_id) == (
        EventType.PROMOTED,
        AcceptanceStatus.INCONCLUSIVE,
        ("Too few.",),
        "ab",
    )
    ruling = registry.ruling("bolt", "new")
    assert ruling is not None
    assert (ruling.status, ruling.images, ruling.active, ruling.run_id) == (result.status, 3, "old", "ab")


def test_a_rejected_candidate_is_kept_and_not_active(registry: Registry, candidate: Candidate) -> None:
    register(registry, candidate, AcceptanceResult(AcceptanceStatus.REJECTED, ("Worse.",), 30), run_id="ab")
    assert registry.current("bolt") is None
    assert registry.holds("bolt", "new")
    assert registry.is_settled("bolt", "new")
    (event,) = registry.history("bolt")
    assert (event.event, event.reasons, event.run_id) == (EventType.REJECTED, ("Worse.",), "ab")
