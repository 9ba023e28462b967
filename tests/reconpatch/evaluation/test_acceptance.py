"""The acceptance test: which candidates pass, which are rejected, and when the test is inconclusive."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.evaluation.acceptance import FEWEST, AcceptanceStatus, Evidence, acceptance_test, too_many_outliers

NO_LABELS = np.empty(0, np.int64)


def evidence(n: int = 60, apart: float = 2.5, seed: int = 0, real: np.ndarray | None = None) -> Evidence:
    """Return scores of n good images and of copies, which are on average `apart` standard deviations higher."""
    random = np.random.default_rng(seed)
    good = random.normal(size=n)
    return Evidence(good, good + apart + random.normal(size=n), np.empty(0) if real is None else real)


def test_a_sound_first_model_passes() -> None:
    result = acceptance_test(evidence(), None, NO_LABELS, 0.01)
    assert (result.status, result.reasons, result.comparisons, result.images) == ("passed", (), (), 60)


def test_a_candidate_as_good_as_the_active_model_passes() -> None:
    for seed in range(20):
        active = evidence(seed=100 + seed, apart=2.4)
        result = acceptance_test(evidence(seed=seed), active, NO_LABELS, 0.01, margin=0.05)
        assert result.status == "passed", result.reasons


def test_a_candidate_that_does_not_respond_to_defects_is_rejected() -> None:
    result = acceptance_test(evidence(apart=0.0), evidence(), NO_LABELS, 0.01)
    assert result.status == "rejected"
    assert [reason[:34] for reason in result.reasons] == ["The AUROC for pasted defects is 0."]
    (comparison,) = result.comparisons
    assert comparison.worse == 1.0
    assert comparison.candidate < comparison.active


def test_a_first_model_that_does_not_respond_to_defects_passes() -> None:
    assert acceptance_test(evidence(apart=0.0), None, NO_LABELS, 0.01).status == "passed"


def test_the_margin_decides_whether_a_worse_candidate_is_rejected() -> None:
    worse, active = evidence(apart=1.5), evidence(apart=2.5)
    assert acceptance_test(worse, active, NO_LABELS, 0.01, margin=0.02).status == "rejected"
    assert acceptance_test(worse, active, NO_LABELS, 0.01, margin=0.5).status == "passed"


def test_labeled_defects_are_compared_too() -> None:
    labels = np.arange(60) % 2
    random = np.random.default_rng(0)
    separated, mixed = 3.0 * labels + random.normal(size=60), random.normal(size=60)
    result = acceptance_test(evidence(real=mixed), evidence(real=separated), labels, 0.01)
    assert result.status == "rejected"
    assert result.reasons[0].startswith("The AUROC for labeled defects is 0.")
    assert [compared.of for compared in result.comparisons] == ["pasted", "labelled"]


def test_without_labels_of_both_classes_only_pasted_defects_are_compared() -> None:
    real = np.zeros(5)
    result = acceptance_test(evidence(real=real), evidence(real=real), np.zeros(5, int), 0.01)
    assert [compared.of for compared in result.comparisons] == ["pasted"]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_rejected_for_any_number_of_images(broken: float) -> None:
    good = np.array([0.0, broken, 1.0])
    result = acceptance_test(Evidence(good, good, np.empty(0)), None, NO_LABELS, 0.01)
    assert result.status == "rejected"
    assert "2 of 6 scores are not finite" in result.reasons[0]


def test_equal_scores_are_rejected_for_any_number_of_images() -> None:
    result = acceptance_test(Evidence(np.ones(3), np.ones(3), np.empty(0)), None, NO_LABELS, 0.01)
    assert result.status == "rejected"
    assert "does not separate any images" in result.reasons[0]


def test_with_few_images_the_test_is_inconclusive() -> None:
    few = FEWEST - 1
    result = acceptance_test(evidence(few, apart=0.0), evidence(few), NO_LABELS, 0.01)
    assert result.status == "inconclusive"
    assert result.comparisons == ()
    assert f"There are {few} calibration images" in result.reasons[0]


def test_a_candidate_that_exceeds_its_bound_is_rejected() -> None:
    """Every second image has a much higher score, so the threshold from the other images flags it."""
    good = np.random.default_rng(0).normal(size=100) + 5.0 * (np.arange(100) % 2)
    result = acceptance_test(evidence_of(good), None, NO_LABELS, 0.1)
    assert result.status == "rejected"
    assert "flags 50 of the other 50" in result.reasons[0]


def test_a_bound_that_holds_is_rejected_less_than_once_in_five_hundred() -> None:
    """The check is repeated for 2,000 candidates, whose scores have heavy tails."""
    rejected = sum(
        acceptance_test(evidence_of(np.random.default_rng(seed).standard_cauchy(40)), None, NO_LABELS, 0.05).status
        == "rejected"
        for seed in range(2000)
    )
    assert rejected <= 4


def evidence_of(good: np.ndarray) -> Evidence:
    """Return the given scores of good images, with copies that score 1 higher."""
    return Evidence(good, good + 1.0, np.empty(0))


def test_one_outlier_is_accepted_and_more_are_limited_by_the_share() -> None:
    assert [too_many_outliers(outliers, 10, 0.05) for outliers in (0, 1, 2)] == [False, False, True]
    assert [too_many_outliers(outliers, 100, 0.05) for outliers in (5, 6)] == [False, True]
    assert not too_many_outliers(100, 100, 1.0)


def test_evidence_of_other_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="must score the same images; got scores of 30 and 31 good images"):
        acceptance_test(evidence(30), evidence(31), NO_LABELS, 0.01)
    with pytest.raises(ValueError, match="one label per test image"):
        acceptance_test(evidence(30, real=np.ones(2)), None, NO_LABELS, 0.01)


def test_statuses_that_earlier_versions_stored_are_read() -> None:
    read = [AcceptanceStatus(stored) for stored in ("passed", "unproven", "inconclusive", "refused", "rejected")]
    assert read == ["passed", "inconclusive", "inconclusive", "rejected", "rejected"]
    with pytest.raises(ValueError, match="'held' is not a valid"):
        AcceptanceStatus("held")
