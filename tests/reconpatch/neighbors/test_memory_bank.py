"""Patch scores, compared with loops over equations 9 and 10 of the paper in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reconpatch.neighbors import distances
from reconpatch.neighbors import memory_bank as scoring
from reconpatch.neighbors.memory_bank import MemoryBank


def distance(a, b):
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def naive_score(patch, bank, b, own=-1):
    """Return s and r* of one patch, by equation 9 and then equation 10 over N_b(r*)."""
    left = [row for row in range(len(bank)) if row != own]
    if not left:
        return math.nan, -1
    nearest = min(left, key=lambda row: (distance(patch, bank[row]), row))
    raw = distance(patch, bank[nearest])
    others = sorted((row for row in left if row != nearest), key=lambda row: (distance(bank[nearest], bank[row]), row))
    neighbors = [nearest, *others[: b - 1]]
    if len(neighbors) == 1:
        return raw, nearest
    # This is e^{s'} / Σ e^{d}, with both divided by e^{s'} to avoid an overflow.
    total = sum(math.exp(min(700.0, distance(patch, bank[row]) - raw)) for row in neighbors)
    return (1.0 - 1.0 / total) * raw, nearest


def naive(features, bank, b, own=None):
    """Return s and r* of all patches."""
    own = [-1] * len(features) if own is None else own
    found = [naive_score(patch, bank, b, itself) for patch, itself in zip(features, own, strict=True)]
    return np.array([score for score, _ in found]), np.array([nearest for _, nearest in found])


def case(kind, m=14, n=12, width=6):
    """Return a bank, features of which the first few are bank entries, and the entry of each feature or -1."""
    random = np.random.default_rng(5)
    noise = random.standard_normal((m + n, width))
    match kind:
        case "random":
            rows = noise
        case "grid":
            rows = random.integers(0, 3, (m + n, 3)).astype(float)
        case "duplicates":
            rows = noise[random.integers(0, 4, m + n)]
        case "equal":
            rows = np.full((m + n, width), 0.1)
        case "far from the origin":
            rows = 2000.0 + 0.01 * noise
        case "far clusters":
            rows = 1000.0 * random.choice([-1.0, 1.0], (m + n, 1)) + 1e-3 * noise
        case _:  # exp of the distances overflows even in float64
            rows = 1e5 * noise
    rows = rows.astype(np.float32)
    bank, features = rows[:m], rows[m:].copy()
    own = np.full(n, -1)
    for patch in range(min(m, n // 2)):
        features[patch], own[patch] = bank[patch], patch
    return bank, features, own


KINDS = ["random", "grid", "duplicates", "equal", "far from the origin", "far clusters", "huge"]


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize("b", [1, 2, 9, 14, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_paper(kind, b, left_out):
    bank, features, own = case(kind)
    own = own if left_out else None
    found = MemoryBank(bank, b).query(features, own)
    scores, nearest = naive(features, bank, b, own)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=0.0)
    assert found.nearest.tolist() == nearest.tolist()


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("b", [1, 2, 3, 9])
def test_small_banks(m, b):
    bank, features, own = case("random", m=m)
    plain = MemoryBank(bank, b).query(features)
    np.testing.assert_allclose(plain.scores, naive(features, bank, b)[0], rtol=1e-5)
    found = MemoryBank(bank, b).query(features, own)
    scores, nearest = naive(features, bank, b, own)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    assert found.nearest.tolist() == nearest.tolist()


def test_the_only_entry_has_no_score_if_it_is_left_out():
    found = MemoryBank(np.ones((1, 2), np.float32)).query(np.ones((2, 2), np.float32), own=[0, -1])
    np.testing.assert_array_equal(found.scores, [np.nan, 0.0])
    assert found.nearest.tolist() == [-1, 0]


def test_two_entries_leave_one_without_reweighting():
    bank = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    found = MemoryBank(bank).query(bank, own=[0, 1])
    assert found.scores.tolist() == [5.0, 5.0]
    assert found.nearest.tolist() == [1, 0]


def test_leave_one_out_is_the_score_against_a_bank_without_that_entry():
    bank = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    found = MemoryBank(bank, 5).query(bank, own=np.arange(30)).scores
    for entry in range(30):
        without = MemoryBank(np.delete(bank, entry, 0), 5).score(bank[entry : entry + 1])
        assert found[entry] == pytest.approx(float(without[0]), rel=1e-6)


def test_more_duplicates_than_b():
    # Entry 0 is left out, so r* is entry 1. N_3 consists of three of the five other equal entries, with equal weights.
    bank = np.array([[0.0], [0.0], [0.0], [0.0], [0.0], [0.0], [9.0]], np.float32)
    found = MemoryBank(bank, 3).query(np.array([[1.0]], np.float32), own=np.array([0]))
    assert found.nearest.tolist() == [1]
    assert found.scores[0] == pytest.approx(1.0 - 1.0 / 3.0)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e15])
def test_equal_distances_have_equal_weights_at_any_scale(scale):
    random = np.random.default_rng(0)
    bank = np.repeat(random.standard_normal((1, 37)).astype(np.float32) * np.float32(scale), 12, axis=0)
    features = random.standard_normal((20, 37)).astype(np.float32) * np.float32(scale)
    expected = 8.0 / 9.0 * MemoryBank(bank, 1).score(features)
    np.testing.assert_allclose(MemoryBank(bank, 9).score(features), expected, rtol=1e-6)


def test_distance_zero_scores_zero():
    bank, _, _ = case("random")
    assert MemoryBank(bank).score(bank).tolist() == [0.0] * len(bank)


@settings(max_examples=100)
@given(st.integers(1, 20), st.integers(1, 12), st.floats(-3.0, 5.0), st.integers(0, 2**32 - 1))
def test_bounds_permutation_and_translation(m, b, magnitude, seed):
    random = np.random.default_rng(seed)
    bank = (10.0**magnitude * random.standard_normal((m, 3))).astype(np.float32)
    features = (10.0**magnitude * random.standard_normal((8, 3))).astype(np.float32)
    raw, scores = MemoryBank(bank, 1).score(features), MemoryBank(bank, b).score(features)
    # The softmax weight of the nearest entry is at most 1/b.
    assert (scores <= raw * (1 + 1e-6)).all()
    assert (scores >= raw * (1.0 - 1.0 / min(b, m)) * (1 - 1e-5)).all()
    order = random.permutation(m)
    permuted = MemoryBank(bank[order], b).query(features)
    np.testing.assert_allclose(permuted.scores, scores, rtol=1e-5)
    assert order[permuted.nearest].tolist() == MemoryBank(bank, b).query(features).nearest.tolist()
    shift = np.float32(10.0**magnitude) * np.ones(3, np.float32)
    moved = MemoryBank(bank + shift, b).score(features + shift)
    np.testing.assert_allclose(moved, scores, rtol=1e-3, atol=1e-5 * 10.0**magnitude)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_the_blocks(kind, monkeypatch):
    bank, features, own = case(kind, n=40)
    memory = MemoryBank(bank, 5)
    expected = [memory.query(features), memory.query(features, own)]
    for rows, gathered, products, pairs in ((1, 1, 1, 1), (7, 100, 50, 64), (1000, 200, 1 << 20, 1 << 20)):
        monkeypatch.setattr(scoring, "_ROWS", rows)
        monkeypatch.setattr(scoring, "_GATHERED", gathered)
        monkeypatch.setattr(distances, "_PRODUCTS", products)
        monkeypatch.setattr(distances, "_PAIRS", pairs)
        for found, whole in zip([memory.query(features), memory.query(features, own)], expected, strict=True):
            np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-6)
            np.testing.assert_array_equal(found.nearest, whole.nearest)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_kinds_of_arrays_and_dtypes(dtype):
    bank, features, own = case("random")
    bank, features = bank.astype(dtype), features.astype(dtype)
    arrays = MemoryBank(bank).query(features, own)
    tensors = MemoryBank(torch.from_numpy(bank)).query(torch.from_numpy(features), torch.from_numpy(own))
    assert isinstance(arrays.scores, np.ndarray)
    assert isinstance(arrays.nearest, np.ndarray)
    assert (arrays.scores.dtype, arrays.nearest.dtype) == (np.float32, np.int64)
    assert isinstance(tensors.nearest, torch.Tensor)
    np.testing.assert_array_equal(tensors.scores.numpy(), arrays.scores)
    np.testing.assert_allclose(arrays.scores, naive(features, bank, 9, own)[0], rtol=1e-5)
    assert isinstance(MemoryBank(torch.from_numpy(bank)).score(features), np.ndarray)


def test_a_query_without_patches_is_empty():
    found = MemoryBank(np.ones((3, 2), np.float32)).query(np.ones((0, 2), np.float32), own=np.zeros(0, np.int64))
    assert found.scores.shape == found.nearest.shape == (0,)


@pytest.mark.parametrize(
    ("entries", "b", "message"),
    [
        (np.zeros(3), 9, "shape"),
        (np.zeros((0, 3)), 9, "at least one row"),
        (np.zeros((3, 2)), 0, "at least 1"),
        (np.full((1, 2), np.nan), 9, "not finite"),
        (np.array([[0.0, 1.0], [np.inf, 1.0]]), 9, "not finite"),
    ],
)
def test_invalid_banks_raise(entries, b, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(entries.astype(np.float32), b)


@pytest.mark.parametrize(
    ("features", "own", "message"),
    [
        (np.zeros((2, 3)), None, "this bank expects"),
        (np.zeros(2), None, "this bank expects"),
        (np.array([[0.0, np.nan]]), None, "not finite"),
        (np.zeros((2, 2)), [0], "2 patches"),
        (np.zeros((2, 2)), [0, 3], "0 to 2"),
        (np.zeros((2, 2)), [0, -2], "0 to 2"),
    ],
)
def test_invalid_queries_raise(features, own, message):
    bank = MemoryBank(np.arange(6, dtype=np.float32).reshape(3, 2))
    with pytest.raises(ValueError, match=message):
        bank.query(features.astype(np.float32), own)
