"""The acceptance test: models as good as the active one pass, blind and worse ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.evaluation.acceptance import FEWEST, AcceptanceStatus, Evidence, acceptance_test, too_many_outliers

NO_LABELS = np.empty(0, np.int64)


def evidence(n: int = 60, apart: float = 2.5, seed: int = 0, real: np.ndarray | None = None) -> Evidence:
    """Scores of n good images, and of copies that are `apart` standard deviations higher."""
    random = np.random.default_rng(seed)
    good = random.normal(size=n)
    return Evidence(good, good + apart + random.normal(size=n), np.empty(0) if real is None else real)


def test_a_first_model_that_is_sound_passes() -> None:
    found = acceptance_test(evidence(), None, NO_LABELS, 0.01)
    assert (found.status, found.reasons, found.comparisons, found.images) == ("passed", (), (), 60)


def test_a_candidate_as_good_as_the_active_model_passes() -> None:
    for seed in range(20):
        found = acceptance_test(evidence(seed=seed), evidence(seed=100 + seed, apart=2.4), NO_LABELS, 0.01, margin=0.05)
        assert found.status == "passed", found.reasons


def test_a_model_that_has_gone_blind_is_rejected_for_that() -> None:
    found = acceptance_test(evidence(apart=0.0), evidence(), NO_LABELS, 0.01)
    assert found.status == "rejected"
    assert [reason[:26] for reason in found.reasons] == ["AUROC of pasted defects 0."]
    (comparison,) = found.comparisons
    assert comparison.worse == 1.0
    assert comparison.candidate < comparison.active


def test_a_blind_first_model_has_nobody_to_be_worse_than() -> None:
    assert acceptance_test(evidence(apart=0.0), None, NO_LABELS, 0.01).status == "passed"


def test_the_margin_is_the_users() -> None:
    worse, active = evidence(apart=1.5), evidence(apart=2.5)
    assert acceptance_test(worse, active, NO_LABELS, 0.01, margin=0.02).status == "rejected"
    assert acceptance_test(worse, active, NO_LABELS, 0.01, margin=0.5).status == "passed"


def test_labelled_defects_are_asked_too() -> None:
    labels = np.arange(60) % 2
    random = np.random.default_rng(0)
    sees, blind = 3.0 * labels + random.normal(size=60), random.normal(size=60)
    found = acceptance_test(evidence(real=blind), evidence(real=sees), labels, 0.01)
    assert found.status == "rejected"
    assert found.reasons[0].startswith("AUROC of labelled defects")
    assert [compared.of for compared in found.comparisons] == ["pasted", "labelled"]


def test_labels_of_one_kind_compare_nothing() -> None:
    real = np.zeros(5)
    found = acceptance_test(evidence(real=real), evidence(real=real), np.zeros(5, int), 0.01)
    assert [compared.of for compared in found.comparisons] == ["pasted"]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_rejected_however_few(broken: float) -> None:
    good = np.array([0.0, broken, 1.0])
    found = acceptance_test(Evidence(good, good, np.empty(0)), None, NO_LABELS, 0.01)
    assert found.status == "rejected"
    assert "2 of 6 scores are not finite" in found.reasons[0]


def test_a_model_that_separates_nothing_is_rejected_however_few() -> None:
    found = acceptance_test(Evidence(np.ones(3), np.ones(3), np.empty(0)), None, NO_LABELS, 0.01)
    assert found.status == "rejected"
    assert "does not separate any images" in found.reasons[0]


def test_with_few_images_it_is_inconclusive() -> None:
    few = FEWEST - 1
    found = acceptance_test(evidence(few, apart=0.0), evidence(few), NO_LABELS, 0.01)
    assert found.status == "inconclusive"
    assert found.comparisons == ()
    assert f"{few} held-out good images" in found.reasons[0]


def test_a_broken_bound_is_rejected() -> None:
    """Every other image is unlike the first ones."""
    good = np.random.default_rng(0).normal(size=100) + 5.0 * (np.arange(100) % 2)
    found = acceptance_test(evidence_of(good), None, NO_LABELS, 0.1)
    assert found.status == "rejected"
    assert "flags 50 of 50" in found.reasons[0]


def test_a_bound_that_holds_is_rejected_less_than_once_in_five_hundred() -> None:
    """Scores with heavy tails, small rates: 2,000 candidates."""
    rejected = sum(
        acceptance_test(evidence_of(np.random.default_rng(seed).standard_cauchy(40)), None, NO_LABELS, 0.05).status
        == "rejected"
        for seed in range(2000)
    )
    assert rejected <= 4


def evidence_of(good: np.ndarray) -> Evidence:
    return Evidence(good, good + 1.0, np.empty(0))


def test_one_outlier_is_never_too_many_and_then_the_share_counts() -> None:
    assert [too_many_outliers(outliers, 10, 0.05) for outliers in (0, 1, 2)] == [False, False, True]
    assert [too_many_outliers(outliers, 100, 0.05) for outliers in (5, 6)] == [False, True]
    assert not too_many_outliers(100, 100, 1.0)


def test_evidence_of_other_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="have not scored the same images"):
        acceptance_test(evidence(30), evidence(31), NO_LABELS, 0.01)
    with pytest.raises(ValueError, match="one label per real image"):
        acceptance_test(evidence(30, real=np.ones(2)), None, NO_LABELS, 0.01)


def test_statuses_that_earlier_versions_stored_are_read() -> None:
    read = [AcceptanceStatus(stored) for stored in ("passed", "unproven", "inconclusive", "refused", "rejected")]
    assert read == ["passed", "inconclusive", "inconclusive", "rejected", "rejected"]
    with pytest.raises(ValueError, match="'held' is not a valid"):
        AcceptanceStatus("held")
