"""Order in which categories need attention, also for a registry of schema version 1."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.registry.attention import CategoryState, Urgency, states_of, urgency_of
from pipelines.registry.night_table import CategoryNight, read_night
from pipelines.registry.registry import Registry
from pipelines.registry.statuses import ScoringResult, TrainingResult
from pipelines.storage.store import Store
from reconpatch.evaluation.acceptance import AcceptanceStatus

FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round" / "registry"
NOW = datetime(2026, 12, 2, tzinfo=UTC)
PASSED, DONE = TrainingResult.PASSED, ScoringResult.DONE


def night(learned: str | None = PASSED, judged: str | None = DONE, unreadable: int | None = 0) -> CategoryNight:
    return CategoryNight(category="bolt", learned=learned, judged=judged, unreadable=unreadable)


@pytest.mark.parametrize(
    ("row", "ks_p_value", "urgency"),
    [
        (night(), 0.5, Urgency.NONE),
        (night(), None, Urgency.NONE),
        (night(learned=None, judged=None, unreadable=None), None, Urgency.NONE),
        (night(learned=TrainingResult.FAILED), 0.5, Urgency.FAILED),
        (night(learned=TrainingResult.REJECTED, judged=ScoringResult.FAILED), 0.5, Urgency.FAILED),
        (night(learned=TrainingResult.REJECTED), 0.0, Urgency.REJECTED),
        (night(learned=TrainingResult.ON_HOLD, judged=ScoringResult.DEFERRED), 0.5, Urgency.ON_HOLD),
        (night(judged=ScoringResult.DEFERRED), 0.5, Urgency.DEFERRED),
        (night(unreadable=1), 0.0, Urgency.DRIFTED),
        (night(unreadable=1), 0.5, Urgency.UNREADABLE),
        (night(judged=ScoringResult.NO_MODEL), None, Urgency.NO_MODEL),
        (night(judged=ScoringResult.NO_IMAGES), None, Urgency.NO_IMAGES),
    ],
)
def test_the_most_urgent_reason_is_given(row: CategoryNight, ks_p_value: float | None, urgency: Urgency) -> None:
    assert urgency_of(row, status=AcceptanceStatus.PASSED, ks_p_value=ks_p_value) == urgency


def test_an_inconclusive_model_is_the_least_urgent_reason() -> None:
    inconclusive = AcceptanceStatus.INCONCLUSIVE
    assert urgency_of(night(), status=inconclusive, ks_p_value=0.5) == Urgency.INCONCLUSIVE
    assert urgency_of(night(unreadable=1), status=inconclusive, ks_p_value=0.5) == Urgency.UNREADABLE


def test_the_order_of_the_reasons_is_their_rank() -> None:
    assert [urgency.rank for urgency in Urgency] == list(range(len(Urgency)))
    assert Urgency.FAILED.rank < Urgency.REJECTED.rank < Urgency.NONE.rank


def test_a_registry_of_schema_version_1_is_shown_with_current_statuses() -> None:
    states = states_of(Registry(Store.of(str(FIRST_ROUND))), read_night(Store.of(str(FIRST_ROUND / ".work"))), NOW)
    assert states[0].category == "cloth"
    assert (states[0].attention, states[0].learned) == (Urgency.REJECTED, TrainingResult.REJECTED)
    assert {state.status for state in states} == {AcceptanceStatus.INCONCLUSIVE}
    assert {state.days for state in states} == {1}
    assert all(state.ks is not None for state in states)


def test_a_category_with_damaged_files_has_failed_and_the_others_are_shown(tmp_path: Path) -> None:
    registry = Registry(Store.of(str(tmp_path)))
    registry.of("nut").write("history.json", b"[]")
    registry.of("nut").write("current", b"..")
    states = states_of(registry, {"bolt": night()}, NOW)
    assert [(state.category, state.attention) for state in states] == [
        ("nut", Urgency.FAILED),
        ("bolt", Urgency.NONE),
    ]
    assert "nut/current" in str(states[0].reasons)


def test_the_keys_of_status_do_not_change() -> None:
    assert list(CategoryState(category="bolt", attention=Urgency.NONE).to_json()) == [
        "category",
        "model",
        "days",
        "status",
        "learned",
        "judged",
        "reasons",
        "images",
        "anomalies",
        "unreadable",
        "ks",
        "ks_p_value",
        "above_threshold",
        "rare",
        "attention",
    ]
