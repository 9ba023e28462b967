"""Thresholds: what is held out, and that the promised false-alarm rate is kept."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.detector.thresholds import bound_keeps, conformal_threshold, held_out, images_needed, p_values


def digests(n: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(n)]


def test_an_image_is_held_out_by_its_contents_hash_alone() -> None:
    names = digests(5000)
    fractions = [int.from_bytes(bytes.fromhex(name)[:8], "big") / 2**64 for name in names]
    assert held_out(names, 0.2).tolist() == [fraction < 0.2 for fraction in fractions]
    assert abs(held_out(names, 0.2).mean() - 0.2) < 3 * math.sqrt(0.2 * 0.8 / 5000)


def test_copies_stay_together_and_new_images_move_nobody() -> None:
    names = digests(300)
    before = held_out(names, 0.3)
    after = held_out([*names[::-1], *names, *digests(600)[300:]], 0.3)
    assert after[:300].tolist() == before[::-1].tolist()
    assert after[300:600].tolist() == before.tolist()


def test_with_fewer_than_ten_distinct_contents_nothing_is_held_out() -> None:
    assert not held_out(digests(9) * 20, 0.9).any()
    assert held_out(digests(10), 0.9).any()
    assert held_out([], 0.2).tolist() == []


def test_one_content_at_least_is_fitted() -> None:
    names = ["00000000000000" + f"{number:02x}" + "0" * 48 for number in range(12)]
    assert held_out(names, 0.2).tolist() == [True] * 11 + [False]


def test_a_share_of_nothing_holds_nothing_out_and_all_is_refused() -> None:
    assert not held_out(["0" * 64, *digests(20)], 0.0).any()
    with pytest.raises(ValueError, match="less than 1"):
        held_out(digests(20), 1.0)


def plain_threshold(scores: list[float], a: float) -> tuple[float, float]:
    """The smallest score whose bound keeps a, tried one after another."""
    n = len(scores)
    for rank, score in enumerate(sorted(scores), start=1):
        if 1 - rank / (n + 1) <= a + 1e-12:
            return score, 1 - rank / (n + 1)
    return max(scores), 1 - n / (n + 1)


@given(
    st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.9])
)
def test_the_threshold_is_the_smallest_score_that_keeps_the_rate(scores: list[float], a: float) -> None:
    found = conformal_threshold(scores, a)
    assert found is not None
    value, bound = plain_threshold(scores, a)
    assert found.value == value
    assert found.false_alarm_bound == pytest.approx(bound, abs=1e-12)
    assert bound_keeps(found.false_alarm_bound, a) == (bound <= a + 1e-12)


@pytest.mark.parametrize(("n", "keeps"), [(98, False), (99, True), (10, False), (1000, True)])
def test_one_percent_takes_ninety_nine_held_out_images(n: int, keeps: bool) -> None:
    found = conformal_threshold(np.arange(n), 0.01)
    assert found is not None
    assert bound_keeps(found.false_alarm_bound, 0.01) == keeps
    assert found.n == n
    assert images_needed(0.01) == 99
    if not keeps:
        assert (found.rank, found.false_alarm_bound) == (n, pytest.approx(1 / (n + 1)))


@pytest.mark.parametrize(("n", "a"), [(15, 0.1), (40, 0.05), (99, 0.01), (200, 0.01), (20, 0.01)])
def test_the_false_alarm_rate_of_new_good_images_is_within_the_bound(n: int, a: float) -> None:
    """Many draws of hold-out and new images from one heavy-tailed distribution: the mean rate met, and its error."""
    generator = np.random.default_rng(7)
    draws = 1000
    rates = np.empty(draws)
    for draw in range(draws):
        found = conformal_threshold(generator.standard_t(2, n), a)
        assert found is not None
        rates[draw] = np.mean(generator.standard_t(2, 400) > found.value)
    error = rates.std() / math.sqrt(draws)
    assert rates.mean() <= found.false_alarm_bound + 3 * error
    assert rates.mean() >= found.false_alarm_bound - 3 * error - 1e-12  # without ties the bound is what is met


def test_ties_only_lower_the_false_alarm_rate() -> None:
    found = conformal_threshold([0.0] * 50 + [1.0] * 50, 0.1)
    assert found is not None
    assert found.value == 1.0  # half of all good images score 1 and none is above it


def test_p_values_count_the_held_out_images_that_are_no_better() -> None:
    held = [3.0, 1.0, 2.0, 2.0]
    assert p_values([0.0, 1.0, 2.0, 2.5, 3.0, 9.0], held).tolist() == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]  # type: ignore[union-attr]


def test_p_values_of_good_images_are_no_smaller_than_uniform() -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([p_values(generator.normal(size=1), generator.normal(size=30)) for _ in range(1000)])  # type: ignore[list-item]
    for level in (0.05, 0.1, 0.3, 0.7):
        assert (values <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / 1000)


@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=40), st.sampled_from([0.02, 0.1, 0.3]))
def test_an_anomaly_is_an_image_whose_p_value_is_within_the_bound(held: list[float], a: float) -> None:
    found = conformal_threshold(held, a)
    assert found is not None
    scores = np.arange(-1.0, 11.0)
    values = p_values(scores, held)
    assert values is not None
    assert ((scores > found.value) == (values <= found.false_alarm_bound + 1e-12)).all()


def test_nothing_is_promised_from_nothing() -> None:
    assert conformal_threshold([], 0.01) is None
    assert p_values([1.0], []) is None


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        conformal_threshold([1.0], rate)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        conformal_threshold([1.0, math.nan])
    with pytest.raises(ValueError, match="finite"):
        p_values([math.inf], [1.0])
