"""Calibration images, thresholds, p-values, and the guaranteed bound on the false-positive rate."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.detector.thresholds import bound_keeps, conformal_threshold, held_out, images_needed, p_values


def digests(n: int) -> list[str]:
    """Return n different SHA-256 digests."""
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(n)]


def test_only_the_hash_of_its_content_decides_whether_an_image_is_held_out() -> None:
    hashes = digests(5000)
    fractions = [int.from_bytes(bytes.fromhex(digest)[:8], "big") / 2**64 for digest in hashes]
    assert held_out(hashes, 0.2).tolist() == [fraction < 0.2 for fraction in fractions]
    assert abs(held_out(hashes, 0.2).mean() - 0.2) < 3 * math.sqrt(0.2 * 0.8 / 5000)


def test_copies_are_treated_alike_and_new_images_do_not_change_the_decision_for_others() -> None:
    hashes = digests(300)
    before = held_out(hashes, 0.3)
    after = held_out([*hashes[::-1], *hashes, *digests(600)[300:]], 0.3)
    assert after[:300].tolist() == before[::-1].tolist()
    assert after[300:600].tolist() == before.tolist()


def test_with_fewer_than_ten_distinct_images_nothing_is_held_out() -> None:
    assert not held_out(digests(9) * 20, 0.9).any()
    assert held_out(digests(10), 0.9).any()
    assert held_out([], 0.2).tolist() == []


def test_the_smallest_fraction_of_a_workpiece_counts_for_all_its_images() -> None:
    hashes = digests(300)
    parts = [None if number % 7 == 0 else f"part {number % 60}" for number in range(300)]
    fractions = [int.from_bytes(bytes.fromhex(digest)[:8], "big") / 2**64 for digest in hashes]
    smallest = [
        fraction if part is None else min(f for f, other in zip(fractions, parts, strict=True) if other == part)
        for fraction, part in zip(fractions, parts, strict=True)
    ]
    assert held_out(hashes, 0.2, parts).tolist() == [fraction < 0.2 for fraction in smallest]
    assert held_out(hashes, 0.2, [None] * 300).tolist() == held_out(hashes, 0.2).tolist()


def test_copies_join_the_workpieces_that_they_show() -> None:
    low, *others = ["0" * 64, *digests(20)[1:], "f" * 64]
    # The image with the low fraction shows part a; a copy of another image of part a shows part b.
    hashes = [low, others[0], others[0], others[1], *others[2:]]
    parts = ["a", "a", "b", "b", *[None] * (len(others) - 2)]
    assert held_out(hashes, 0.001, parts).tolist() == [True] * 4 + [False] * (len(others) - 2)


def test_at_least_one_image_is_not_held_out() -> None:
    hashes = ["00000000000000" + f"{number:02x}" + "0" * 48 for number in range(12)]
    assert held_out(hashes, 0.2).tolist() == [True] * 11 + [False]


def test_a_share_of_0_holds_nothing_out_and_a_share_of_1_is_an_error() -> None:
    assert not held_out(["0" * 64, *digests(20)], 0.0).any()
    with pytest.raises(ValueError, match="less than 1"):
        held_out(digests(20), 1.0)


def plain_threshold(scores: list[float], a: float) -> tuple[float, float]:
    """Return the smallest score whose guaranteed bound is at most a, and the bound, by trying all scores in order."""
    n = len(scores)
    for rank, score in enumerate(sorted(scores), start=1):
        if 1 - rank / (n + 1) <= a + 1e-12:
            return score, 1 - rank / (n + 1)
    return max(scores), 1 - n / (n + 1)


@given(
    st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.9])
)
def test_the_threshold_is_the_smallest_score_that_guarantees_the_rate(scores: list[float], a: float) -> None:
    threshold = conformal_threshold(scores, a)
    assert threshold is not None
    value, bound = plain_threshold(scores, a)
    assert threshold.value == value
    assert threshold.false_alarm_bound == pytest.approx(bound, abs=1e-12)
    assert bound_keeps(threshold.false_alarm_bound, a) == (bound <= a + 1e-12)


@pytest.mark.parametrize(("n", "keeps"), [(98, False), (99, True), (10, False), (1000, True)])
def test_a_rate_of_one_percent_needs_ninety_nine_calibration_images(n: int, keeps: bool) -> None:
    threshold = conformal_threshold(np.arange(n), 0.01)
    assert threshold is not None
    assert bound_keeps(threshold.false_alarm_bound, 0.01) == keeps
    assert threshold.n == n
    assert images_needed(0.01) == 99
    if not keeps:
        assert (threshold.rank, threshold.false_alarm_bound) == (n, pytest.approx(1 / (n + 1)))


@pytest.mark.parametrize(("n", "a"), [(15, 0.1), (40, 0.05), (99, 0.01), (200, 0.01), (20, 0.01)])
def test_the_false_positive_rate_of_new_good_images_is_within_the_bound(n: int, a: float) -> None:
    """Calibration and new scores are drawn many times from the same heavy-tailed distribution.

    The mean rate and its standard error are compared with the bound.
    """
    generator = np.random.default_rng(7)
    draws = 1000
    rates = np.empty(draws)
    for draw in range(draws):
        threshold = conformal_threshold(generator.standard_t(2, n), a)
        assert threshold is not None
        rates[draw] = np.mean(generator.standard_t(2, 400) > threshold.value)
    error = rates.std() / math.sqrt(draws)
    assert rates.mean() <= threshold.false_alarm_bound + 3 * error
    assert rates.mean() >= threshold.false_alarm_bound - 3 * error - 1e-12  # without ties, the rate equals the bound


def test_ties_lower_the_false_positive_rate() -> None:
    threshold = conformal_threshold([0.0] * 50 + [1.0] * 50, 0.1)
    assert threshold is not None
    assert threshold.value == 1.0  # half of all good images score 1, and none scores above it


def test_p_values_count_the_calibration_images_with_at_least_the_same_score() -> None:
    calibration = [3.0, 1.0, 2.0, 2.0]
    computed = p_values([0.0, 1.0, 2.0, 2.5, 3.0, 9.0], calibration)
    assert computed is not None
    assert computed.tolist() == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]


def test_p_values_of_good_images_are_not_smaller_than_uniform_ones() -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([p_values(generator.normal(size=1), generator.normal(size=30)) for _ in range(1000)])  # type: ignore[list-item]
    for level in (0.05, 0.1, 0.3, 0.7):
        assert (values <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / 1000)


@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=40), st.sampled_from([0.02, 0.1, 0.3]))
def test_an_image_is_flagged_if_and_only_if_its_p_value_is_at_most_the_bound(
    calibration: list[float], a: float
) -> None:
    threshold = conformal_threshold(calibration, a)
    assert threshold is not None
    scores = np.arange(-1.0, 11.0)
    values = p_values(scores, calibration)
    assert values is not None
    assert ((scores > threshold.value) == (values <= threshold.false_alarm_bound + 1e-12)).all()


def test_without_calibration_scores_there_is_neither_threshold_nor_p_value() -> None:
    assert conformal_threshold([], 0.01) is None
    assert p_values([1.0], []) is None


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_outside_0_and_1_is_an_error(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        conformal_threshold([1.0], rate)


def test_scores_that_are_not_finite_are_errors() -> None:
    with pytest.raises(ValueError, match="finite"):
        conformal_threshold([1.0, math.nan])
    with pytest.raises(ValueError, match="finite"):
        p_values([math.inf], [1.0])
