"""Statuses: values of schema version 1 are translated, and current ones are stored unchanged."""

from __future__ import annotations

import json

import pytest

from pipelines.registry.statuses import EventType, ScoringResult, TrainingResult, current_word
from reconpatch.evaluation.acceptance import AcceptanceStatus


@pytest.mark.parametrize(
    ("stored", "current"), [("refused", "rejected"), ("unproven", "inconclusive"), ("held back", "on hold")]
)
def test_an_old_status_is_translated(stored: str, current: str) -> None:
    assert current_word(stored) == current


@pytest.mark.parametrize("word", [*TrainingResult, *ScoringResult, *EventType])
def test_current_statuses_are_not_translated(word: str) -> None:
    assert current_word(word) == word


def test_every_result_of_an_acceptance_test_is_a_training_result() -> None:
    assert {TrainingResult(status) for status in AcceptanceStatus} == {
        TrainingResult.PASSED,
        TrainingResult.INCONCLUSIVE,
        TrainingResult.REJECTED,
    }


def test_a_status_is_stored_as_its_value() -> None:
    assert json.dumps([TrainingResult.ON_HOLD, ScoringResult.NO_MODEL]) == '["on hold", "no model"]'
