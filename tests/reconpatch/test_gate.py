"""The gate: models as good as the champion pass, blind and worse ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.gate import FEWEST, Evidence, rule, too_many_suspects

NO_LABELS = np.empty(0, np.int64)


def evidence(n: int = 60, apart: float = 2.5, seed: int = 0, real: np.ndarray | None = None) -> Evidence:
    """Scores of n good images, and of copies that are `apart` standard deviations higher."""
    random = np.random.default_rng(seed)
    good = random.normal(size=n)
    return Evidence(good, good + apart + random.normal(size=n), np.empty(0) if real is None else real)


def test_a_first_model_that_is_sound_passes() -> None:
    found = rule(evidence(), None, NO_LABELS, 0.01)
    assert (found.status, found.reasons, found.comparisons, found.images) == ("passed", (), (), 60)


def test_a_candidate_as_good_as_the_champion_passes() -> None:
    for seed in range(20):
        found = rule(evidence(seed=seed), evidence(seed=100 + seed, apart=2.4), NO_LABELS, 0.01, margin=0.05)
        assert found.status == "passed", found.reasons


def test_a_model_that_has_gone_blind_is_refused_for_that() -> None:
    found = rule(evidence(apart=0.0), evidence(), NO_LABELS, 0.01)
    assert found.status == "refused"
    assert [reason[:26] for reason in found.reasons] == ["AUROC of pasted defects 0."]
    (comparison,) = found.comparisons
    assert comparison.worse == 1.0
    assert comparison.candidate < comparison.champion


def test_a_blind_first_model_has_nobody_to_be_worse_than() -> None:
    assert rule(evidence(apart=0.0), None, NO_LABELS, 0.01).status == "passed"


def test_the_margin_is_the_users() -> None:
    worse, champion = evidence(apart=1.5), evidence(apart=2.5)
    assert rule(worse, champion, NO_LABELS, 0.01, margin=0.02).status == "refused"
    assert rule(worse, champion, NO_LABELS, 0.01, margin=0.5).status == "passed"


def test_labelled_defects_are_asked_too() -> None:
    labels = np.arange(60) % 2
    random = np.random.default_rng(0)
    sees, blind = 3.0 * labels + random.normal(size=60), random.normal(size=60)
    found = rule(evidence(real=blind), evidence(real=sees), labels, 0.01)
    assert found.status == "refused"
    assert found.reasons[0].startswith("AUROC of labelled defects")
    assert [each.of for each in found.comparisons] == ["pasted", "labelled"]


def test_labels_of_one_kind_compare_nothing() -> None:
    real = np.zeros(5)
    found = rule(evidence(real=real), evidence(real=real), np.zeros(5, int), 0.01)
    assert [each.of for each in found.comparisons] == ["pasted"]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_however_few(broken: float) -> None:
    good = np.array([0.0, broken, 1.0])
    found = rule(Evidence(good, good, np.empty(0)), None, NO_LABELS, 0.01)
    assert found.status == "refused"
    assert "2 of 6 scores are not finite" in found.reasons[0]


def test_a_model_that_tells_nothing_apart_is_refused_however_few() -> None:
    found = rule(Evidence(np.ones(3), np.ones(3), np.empty(0)), None, NO_LABELS, 0.01)
    assert found.status == "refused"
    assert "tells nothing apart" in found.reasons[0]


def test_with_few_images_it_passes_unproven() -> None:
    few = FEWEST - 1
    found = rule(evidence(few, apart=0.0), evidence(few), NO_LABELS, 0.01)
    assert found.status == "unproven"
    assert found.comparisons == ()
    assert f"{few} held-out good images" in found.reasons[0]


def test_a_promise_that_is_broken_is_seen() -> None:
    """Every other image is unlike the first ones."""
    good = np.random.default_rng(0).normal(size=100) + 5.0 * (np.arange(100) % 2)
    found = rule(evidence_of(good), None, NO_LABELS, 0.1)
    assert found.status == "refused"
    assert "raised 50 of 50" in found.reasons[0]


def test_a_promise_that_holds_is_refused_in_vain_less_than_once_in_five_hundred() -> None:
    """Scores with heavy tails, small rates: 2,000 candidates."""
    refused = sum(
        rule(evidence_of(np.random.default_rng(seed).standard_cauchy(40)), None, NO_LABELS, 0.05).status == "refused"
        for seed in range(2000)
    )
    assert refused <= 4


def evidence_of(good: np.ndarray) -> Evidence:
    return Evidence(good, good + 1.0, np.empty(0))


def test_one_suspect_is_never_too_many_and_then_the_share_counts() -> None:
    assert [too_many_suspects(each, 10, 0.05) for each in (0, 1, 2)] == [False, False, True]
    assert [too_many_suspects(each, 100, 0.05) for each in (5, 6)] == [False, True]
    assert not too_many_suspects(100, 100, 1.0)


def test_evidence_of_other_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="have not scored the same images"):
        rule(evidence(30), evidence(31), NO_LABELS, 0.01)
    with pytest.raises(ValueError, match="not of the same number"):
        rule(evidence(30, real=np.ones(2)), None, NO_LABELS, 0.01)
