"""The loss compared with loops that follow eq. 7, and its gradient with torch.cdist and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reconpatch.adapter.losses import relaxed_contrastive_loss


def paper_loss(z, w, margin):
    """Return the loss of eq. 7, computed by loops."""
    z = np.asarray(z, dtype=np.float64)
    n = len(z)
    total = 0.0
    for i in range(n):
        mean = max(sum(np.linalg.norm(z[i] - z[j]) for j in range(n)) / n, 1e-12)
        for j in range(n):
            delta = np.linalg.norm(z[i] - z[j]) / mean
            total += w[i, j] * delta**2 + (1 - w[i, j]) * max(margin - delta, 0) ** 2
    return total / n


def cdist_loss(z, w, margin):
    """Return the loss of eq. 7 with the distances of PyTorch, whose gradient is the reference."""
    distances = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
    delta = distances / distances.mean(1, keepdim=True).clamp(min=1e-12)
    return (w * delta**2 + (1 - w) * torch.relu(margin - delta) ** 2).sum() / len(z)


def gradient(loss, z, w, margin):
    z = torch.tensor(z, requires_grad=True)
    loss(z, torch.tensor(w, dtype=z.dtype), margin).backward()
    return z.grad.numpy()


rng = np.random.default_rng(3)
far_clusters = rng.choice([-4096.0, 4096.0], (3, 5))[np.arange(24) % 3]
INPUTS = {
    "random": rng.standard_normal((20, 6)),
    "wide": rng.standard_normal((12, 300)),
    "integers with ties": rng.integers(0, 3, (30, 3)),
    "duplicates": np.repeat(rng.standard_normal((6, 4)), 3, axis=0),
    "clusters far away": far_clusters + rng.integers(0, 4, (24, 5)) / 256.0,
    "one cluster far away": 1000.0 + 0.1 * rng.standard_normal((20, 6)),
    "one outlier": np.concatenate([np.full((1, 5), 1e5), rng.standard_normal((14, 5))]),
    "huge": 1e12 * rng.standard_normal((15, 4)),
    "tiny": 1e-9 * rng.standard_normal((15, 4)),
    "below the clamp": 1e-14 * rng.standard_normal((15, 4)),
    "all equal": np.full((10, 5), 3.7),
    "two rows": rng.standard_normal((2, 3)),
    "one row": rng.standard_normal((1, 3)),
}


@pytest.fixture(params=INPUTS)
def z(request):
    return INPUTS[request.param].astype(np.float32)


def weights_for(z, seed=0):
    return np.random.default_rng(seed).random((len(z), len(z)))


@pytest.mark.parametrize("margin", [0.1, 1.0, 2.5])
def test_the_loss_is_equation_7(z, margin):
    w = weights_for(z)
    assert relaxed_contrastive_loss(z, w, margin) == pytest.approx(paper_loss(z, w, margin), rel=1e-5)


def test_two_rows_by_hand():
    # The only distance is 3. The mean of a row, which includes the zero distance to itself, is 1.5. So δ is 2, above
    # the margin, and 0 on the diagonal.
    z = np.array([[0.0, 0.0], [0.0, 3.0]])
    w = np.array([[1.0, 0.25], [0.5, 0.9]])
    assert relaxed_contrastive_loss(z, w) == pytest.approx((0.25 * 4 + 0.5 * 4 + 0.1 * 1) / 2)


def test_the_loss_of_equal_rows_is_the_squared_margin_if_dissimilar_and_0_if_similar():
    z = np.full((7, 3), 0.1, dtype=np.float32)
    assert relaxed_contrastive_loss(z, np.zeros((7, 7)), margin=0.5) == pytest.approx(7 * 0.25)
    assert relaxed_contrastive_loss(z, np.ones((7, 7))) == 0.0


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_the_gradient_equals_that_of_cdist_in_float64(z, margin):
    w = weights_for(z)
    expected = gradient(cdist_loss, z.astype(np.float64), w, margin)
    scale = max(np.abs(expected).max(), 1.0 / np.abs(z).max())  # the gradient of two rows is 0
    actual = gradient(relaxed_contrastive_loss, z, w, margin)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5 * scale)


def test_rows_of_a_tight_cluster_far_from_other_rows_have_exact_gradients():
    # In float32, the matrix products of the gradient would lose all digits here.
    z = np.float32([0.0, 2e-4, 5e-4, 1000.0, 1000.001])[:, None] * np.float32([1.0, -1.0])
    w = weights_for(z)
    expected = gradient(cdist_loss, z.astype(np.float64), w, 1.0)
    np.testing.assert_allclose(gradient(relaxed_contrastive_loss, z, w, 1.0), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["random", "two rows", "one cluster far away"])
@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_the_gradient_equals_finite_differences(name, margin):
    z = torch.tensor(INPUTS[name], dtype=torch.float64, requires_grad=True)
    w = torch.tensor(weights_for(z))
    assert torch.autograd.gradcheck(lambda x: relaxed_contrastive_loss(x, w, margin), z, eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_of_equal_rows_has_no_gradient(dtype):
    z = np.full((8, 4), 1.3, dtype=dtype)
    np.testing.assert_array_equal(gradient(relaxed_contrastive_loss, z, weights_for(z), 1.0), np.zeros((8, 4)))


def test_the_gradient_of_float16_input_is_float16():
    z = torch.tensor(INPUTS["random"], dtype=torch.float16, requires_grad=True)
    relaxed_contrastive_loss(z, weights_for(z)).backward()
    assert z.grad.dtype == torch.float16
    assert torch.isfinite(z.grad).all()


matrices = arrays(np.float64, st.tuples(st.integers(1, 10), st.integers(1, 4)), elements=st.integers(-5, 5).map(float))


@settings(max_examples=50)
@given(z=matrices, seed=st.integers(0, 99), margin=st.floats(0, 3), scale=st.floats(1e-3, 1e3), shift=st.floats(-9, 9))
def test_the_loss_does_not_depend_on_scale_origin_and_order(z, seed, *, margin, scale, shift):
    w = weights_for(z, seed)
    order = np.random.default_rng(seed).permutation(len(z))
    expected = relaxed_contrastive_loss(z, w, margin)
    assert relaxed_contrastive_loss(z * scale, w, margin) == pytest.approx(expected, rel=1e-9)
    assert relaxed_contrastive_loss(z + shift, w, margin) == pytest.approx(expected, rel=1e-9)
    assert relaxed_contrastive_loss(z[order], w[np.ix_(order, order)], margin) == pytest.approx(expected, rel=1e-9)


def test_arrays_give_numpy_scalars_and_tensors_give_tensors():
    z = INPUTS["random"]
    w = weights_for(z)
    for dtype, expected in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        loss = relaxed_contrastive_loss(z.astype(dtype), w)
        assert type(loss) is expected
    loss = relaxed_contrastive_loss(torch.tensor(z), torch.tensor(w))
    assert isinstance(loss, torch.Tensor)
    assert loss.shape == ()
    assert float(loss) == relaxed_contrastive_loss(z, w)


def test_wrong_shapes_are_errors():
    z = INPUTS["random"]
    for shape in ((19, 20), (20,), (1, 1)):
        with pytest.raises(ValueError, match="weights must have shape"):
            relaxed_contrastive_loss(z, np.zeros(shape))
    with pytest.raises(ValueError, match="matrix"):
        relaxed_contrastive_loss(z[0], np.zeros((6, 6)))
    with pytest.raises(ValueError, match="matrix"):
        relaxed_contrastive_loss(z[:0], np.zeros((0, 0)))
