"""Similarities compared with loops that follow eqs. 1-6, also on input for which fast distances are inexact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reconpatch.adapter.similarity import contextual_similarity, neighbor_scale, pairwise_similarity, similarity


def squared_distance(z, i, j):
    return sum((float(a) - float(b)) ** 2 for a, b in zip(z[i], z[j], strict=True))


def nearest(z, k):
    """Return N_k(i) for every row i: all rows at most as far as the k-th nearest, including i itself."""
    sets = []
    for i in range(len(z)):
        distances = [squared_distance(z, i, j) for j in range(len(z))]
        kth = sorted(distances)[min(k, len(z)) - 1]
        sets.append({j for j in range(len(z)) if distances[j] <= kth})
    return sets


def paper_pairwise(z, sigma):
    n = len(z)
    return np.array([[math.exp(-squared_distance(z, i, j) / sigma) for j in range(n)] for i in range(n)])


def paper_contextual(z, k):
    n = len(z)
    near = nearest(z, k)
    shared = np.zeros((n, n))  # eq. 2
    for i in range(n):
        for j in near[i]:
            shared[i, j] = len(near[i] & near[j]) / len(near[i])
    close = nearest(z, k // 2)
    expanded = np.zeros((n, n))  # eqs. 3 and 4
    for i in range(n):
        reciprocal = {j for j in close[i] if i in close[j]}
        for j in range(n):
            expanded[i, j] = sum(shared[m, j] for m in reciprocal) / len(reciprocal)
    return np.array([[(expanded[i, j] + expanded[j, i]) / 2 for j in range(n)] for i in range(n)])  # eq. 5


def paper_scale(z, k):
    kth = [sorted(squared_distance(z, i, j) for j in range(len(z)))[min(k, len(z)) - 1] for i in range(len(z))]
    return sum(kth) / len(kth)


rng = np.random.default_rng(7)
# Steps of 2^-8 around ±4096 and ±8192 are exact in float32, but a Gram matrix in float32 rounds all of them away.
far_clusters = rng.choice([-8192.0, -4096.0, 4096.0, 8192.0], (4, 3))[np.arange(32) % 4]
INPUTS = {
    "random": rng.standard_normal((40, 7)),
    "wide": rng.standard_normal((30, 200)),
    "integers with ties": rng.integers(0, 3, (60, 3)),
    "a line with ties": np.arange(25)[:, None],
    "duplicates": np.repeat(rng.standard_normal((9, 4)), 4, axis=0)[rng.permutation(36)],
    "one outlier": np.concatenate([np.full((1, 5), 1e6), rng.standard_normal((24, 5))]),
    "fewer than k": rng.standard_normal((3, 4)),
    "one row": rng.standard_normal((1, 4)),
    "all equal": np.full((12, 5), 3.7),
    "clusters far away": far_clusters + rng.integers(0, 4, (32, 3)) / 256.0,
    "one cluster far away": 1000.0 + 0.1 * rng.standard_normal((30, 6)),
    "huge": 1e15 * rng.standard_normal((20, 4)),
    "tiny": 1e-9 * rng.standard_normal((20, 4)),
}


@pytest.fixture(params=INPUTS)
def z(request):
    return INPUTS[request.param].astype(np.float32)


@pytest.mark.parametrize("factor", [0.3, 1.0, 50.0])
def test_pairwise_similarity_is_equation_1(z, factor):
    sigma = factor * (paper_scale(z, 5) or 1.0)
    np.testing.assert_allclose(pairwise_similarity(z, sigma), paper_pairwise(z, sigma), atol=2e-6)


@pytest.mark.parametrize("k", [4, 5, 6, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contextual_similarity_is_equations_2_to_5(z, k, dtype):
    np.testing.assert_allclose(contextual_similarity(z.astype(dtype), k), paper_contextual(z, k), atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_neighbor_scale_is_the_mean_squared_distance_to_the_kth_neighbor(z, k):
    assert neighbor_scale(z, k) == pytest.approx(paper_scale(z, k), rel=1e-5, abs=1e-30)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_similarity_is_equation_6(z, alpha):
    sigma = paper_scale(z, 5) or 1.0
    expected = alpha * paper_pairwise(z, sigma) + (1 - alpha) * paper_contextual(z, 5)
    np.testing.assert_allclose(similarity(z, sigma, 5, alpha), expected, atol=2e-6)


def test_without_sigma_similarity_uses_the_scale_of_the_batch(z):
    np.testing.assert_allclose(similarity(z, None, 5, 0.5), similarity(z, neighbor_scale(z, 5), 5, 0.5), atol=1e-6)


def test_equal_rows_have_similarity_1_even_at_scale_0():
    z = np.full((6, 3), 2.5, dtype=np.float32)
    assert neighbor_scale(z) == 0.0
    np.testing.assert_array_equal(similarity(z, None, 5, 0.5), np.ones((6, 6)))


def test_with_a_width_of_0_only_equal_rows_are_similar():
    z = np.array([[0.0], [0.0], [1e-3]], dtype=np.float32)
    np.testing.assert_array_equal(pairwise_similarity(z, 0.0), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


small_integers = arrays(
    np.float32, st.tuples(st.integers(1, 14), st.integers(1, 4)), elements=st.integers(-3, 3).map(float)
)
reals = arrays(np.float32, st.tuples(st.integers(1, 14), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))
options = {
    "k": st.integers(4, 9),
    "alpha": st.floats(0, 1),
    "sigma": st.none() | st.floats(1e-6, 1e6),
}


@settings(max_examples=100)
@given(z=reals | small_integers, **options)
def test_weights_are_symmetric_and_within_0_and_1(z, k, alpha, sigma):
    w = similarity(z, sigma, k, alpha)
    assert w.min() >= 0.0
    assert w.max() <= 1.0
    np.testing.assert_array_equal(w, w.T)


@settings(max_examples=50)
@given(z=small_integers, seed=st.integers(0, 99), **options)
def test_similarity_does_not_depend_on_the_order_of_the_rows(z, seed, *, k, alpha, sigma):
    order = np.random.default_rng(seed).permutation(len(z))
    expected = similarity(z, sigma, k, alpha)[np.ix_(order, order)]
    np.testing.assert_allclose(similarity(z[order], sigma, k, alpha), expected, atol=1e-6)


@settings(max_examples=50)
@given(z=small_integers, shift=st.integers(-(2**20), 2**20), **options)
def test_similarity_does_not_depend_on_the_origin(z, shift, *, k, alpha, sigma):
    expected = similarity(z, sigma, k, alpha)
    np.testing.assert_allclose(similarity(z + np.float32(shift), sigma, k, alpha), expected, atol=1e-6)


@settings(max_examples=30)
@given(z=small_integers, power=st.integers(-20, 20), k=options["k"], alpha=options["alpha"])
def test_with_the_scale_of_the_batch_similarity_does_not_depend_on_the_unit(z, power, k, alpha):
    expected = similarity(z, None, k, alpha)
    np.testing.assert_allclose(similarity(z * np.float32(2.0**power), None, k, alpha), expected, atol=1e-6)


FUNCTIONS = [pairwise_similarity, contextual_similarity, similarity]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arrays_give_arrays_and_tensors_give_tensors(function):
    z = INPUTS["random"]
    for dtype, expected in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        result = function(z.astype(dtype))
        assert isinstance(result, np.ndarray)
        assert result.dtype == expected
    tensor = torch.tensor(z, requires_grad=True)
    result = function(tensor)
    assert isinstance(result, torch.Tensor)
    assert not result.requires_grad
    np.testing.assert_array_equal(result.numpy(), function(z))


@pytest.mark.parametrize("function", [*FUNCTIONS, neighbor_scale])
@pytest.mark.parametrize("shape", [(0, 4), (5,), (2, 3, 4)])
def test_input_that_is_no_matrix_with_rows_is_an_error(function, shape):
    with pytest.raises(ValueError, match="matrix"):
        function(np.zeros(shape, dtype=np.float32))


def test_options_out_of_range_are_errors():
    z = INPUTS["random"]
    for function in (contextual_similarity, similarity):
        with pytest.raises(ValueError, match="at least 4"):
            function(z, k=3)
    for sigma in (-1.0, math.nan):
        with pytest.raises(ValueError, match="sigma"):
            pairwise_similarity(z, sigma)
        with pytest.raises(ValueError, match="sigma"):
            similarity(z, sigma)
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            similarity(z, alpha=alpha)
    with pytest.raises(ValueError, match="k must"):
        neighbor_scale(z, 0)
