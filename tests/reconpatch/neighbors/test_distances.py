"""Distances by products and differences, compared with loops in float64."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconpatch.neighbors import distances
from reconpatch.neighbors.distances import nearest_rows, neighborhoods, rounding, squared_distances


def naive_squared(queries, rows):
    queries, rows = queries.double(), rows.double()
    return torch.stack([torch.stack([((q - r) ** 2).sum() for r in rows]) for q in queries])


def rows_of(kind, n, width, seed=0):
    """Return rows of one kind, (n, width) float32; for most kinds, a plain matrix product is not precise enough."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, width, generator=generator)
    if kind == "random":
        return noise
    if kind == "grid":
        return torch.randint(0, 3, (n, width), generator=generator).float()
    if kind == "duplicates":
        return noise[torch.randint(0, max(1, n // 4), (n,), generator=generator)] * 100.0
    if kind == "equal":
        return torch.full((n, width), 0.1)
    if kind == "far from the origin":
        return 1000.0 + 0.01 * noise
    if kind == "far clusters":  # distances inside a cluster are a millionth of those between clusters
        return 1000.0 * torch.sign(torch.randn(n, 1, generator=generator)) + 1e-3 * noise
    if kind == "one outlier":
        noise[-1] *= 1e5
        return noise
    assert kind == "huge"
    return noise * 1e6


KINDS = ["random", "grid", "duplicates", "equal", "far from the origin", "far clusters", "one outlier", "huge"]


@pytest.mark.parametrize("kind", KINDS)
def test_squared_distances_have_the_precision_of_differences(kind):
    x = rows_of(kind, 40, 24)
    squared = squared_distances(x)
    torch.testing.assert_close(squared.double(), naive_squared(x, x), rtol=2e-7, atol=0.0)
    assert torch.equal(squared, squared.T)
    assert not squared.diagonal().any()


@pytest.mark.parametrize("k", [1, 4, 5, 40, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_neighborhoods_contain_all_rows_within_the_kth_smallest_distance(kind, k):
    x = rows_of(kind, 40, 8)
    expected = torch.zeros(40, 40, dtype=torch.bool)
    for i, row in enumerate(naive_squared(x, x)):
        kth = sorted(row.tolist())[min(k, 40) - 1]
        expected[i] = row <= kth * (1.0 + 1e-12)
    assert torch.equal(neighborhoods(x, k), expected)


@pytest.mark.parametrize("kind", ["grid", "duplicates", "far clusters"])
def test_distances_and_neighborhoods_do_not_depend_on_the_blocks(kind, monkeypatch):
    x = rows_of(kind, 40, 24)
    squared, members = squared_distances(x), neighborhoods(x, 5)
    for pairs in (1, 100, 24 * 40):
        monkeypatch.setattr(distances, "_PAIRS", pairs)
        assert torch.equal(squared_distances(x), squared)
        assert torch.equal(neighborhoods(x, 5), members)


@pytest.mark.parametrize("width", [1, 3, 200, 1500])
def test_the_bound_on_rounding_holds_if_all_terms_round_in_the_same_direction(width):
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(10):
        layers = 1.0 + torch.rand(64, 1, generator=generator)
        x = (layers * torch.where(torch.rand(64, 1, generator=generator) < 0.5, -1.0, 1.0)).expand(64, width)
        x = x.contiguous()
        norms = x.square().sum(1)
        exact = x.double().square().sum(1)
        by_matrix = torch.addmm(norms, x, x.T, alpha=-2.0)
        by_vector = torch.stack([torch.addmv(norms, x, row, alpha=-2.0) for row in x])
        truth = exact - 2.0 * x.double() @ x.double().T
        allowed = exact[:, None] + 2.0 * exact
        for computed in (by_matrix, by_vector):
            worst = max(worst, float(((computed - truth).abs() / allowed).max()))
    assert worst <= rounding(x)


def test_the_bound_on_rounding_covers_products_in_lower_precision():
    x = torch.zeros(1, 4)
    exact = rounding(x)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert rounding(x) >= exact + 2.0**-8
        assert rounding(x.double()) < 1e-12
    finally:
        torch.set_float32_matmul_precision(before)


def naive_nearest(queries, rows, k, exclude=None):
    squared = naive_squared(queries, rows)
    if exclude is not None:
        for i, row in enumerate(exclude.tolist()):
            if row >= 0:
                squared[i, row] = torch.inf
    order = squared.argsort(dim=1, stable=True)[:, :k]
    return order, squared.gather(1, order).sqrt()


@pytest.fixture(params=["faiss", "products"])
def search_method(request, monkeypatch):
    """Run each test with both searches for candidates: faiss (many queries) and products (few queries)."""
    monkeypatch.setattr(distances, "_SEARCHED_AT_LEAST", 0 if request.param == "faiss" else 1 << 40)


@pytest.mark.usefixtures("search_method")
@pytest.mark.parametrize("k", [1, 2, 9, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_nearest_rows_are_the_nearest(kind, k):
    rows = rows_of(kind, 50, 16)
    queries = torch.cat([rows[:10], rows_of(kind, 30, 16, seed=1)])
    indices, found = nearest_rows(queries, rows, k)
    order, expected = naive_nearest(queries, rows, k)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0.0)
    claimed = naive_squared(queries, rows).gather(1, indices).sqrt()
    torch.testing.assert_close(found.double(), claimed, rtol=1e-6, atol=0.0)
    if kind in ("grid", "equal"):  # exact in float32, so ties must be decided in the same way
        assert torch.equal(indices, order)
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_rows_depend_neither_on_the_blocks_nor_on_the_search_method(kind, monkeypatch):
    rows, queries = rows_of(kind, 70, 16), rows_of(kind, 90, 16, seed=1)
    exclude = torch.arange(90) % 75 - 5
    exclude[exclude < 0] = -1
    for k in (1, 2, 10):
        expected = nearest_rows(queries, rows, k, exclude=exclude)
        for searched, products, pairs, group in ((7, 1, 1, 1), (91, 300, 64, 5), (1 << 40, 2000, 1000, 64)):
            monkeypatch.setattr(distances, "_SEARCHED", min(searched, 32))
            monkeypatch.setattr(distances, "_SEARCHED_AT_LEAST", searched)
            monkeypatch.setattr(distances, "_PRODUCTS", products)
            monkeypatch.setattr(distances, "_PAIRS", pairs)
            monkeypatch.setattr(distances, "_GROUP", group)
            found = nearest_rows(queries, rows, k, exclude=exclude)
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[1], expected[1])
        monkeypatch.undo()


@pytest.mark.usefixtures("search_method")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nearest_rows_with_ties_and_exclusions_on_small_grids(data):
    m, n, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    grid = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = torch.from_numpy(grid.integers(0, 4, (m, width)).astype(np.float32))
    queries = torch.from_numpy(grid.integers(0, 4, (n, width)).astype(np.float32))
    exclude = torch.from_numpy(grid.integers(-1, m, n))
    if m == 1:
        exclude = None
    k = data.draw(st.integers(1, m if exclude is None or bool((exclude < 0).all()) else m - 1))
    indices, found = nearest_rows(queries, rows, k, exclude=exclude)
    order, expected = naive_nearest(queries, rows, k, exclude)
    assert torch.equal(indices, order)
    torch.testing.assert_close(found.double(), expected)


def test_nearest_rows_of_no_queries():
    indices, found = nearest_rows(torch.zeros(0, 3), torch.zeros(4, 3), 2)
    assert indices.shape == found.shape == (0, 2)


@pytest.mark.parametrize(("k", "exclude"), [(0, None), (4, None), (3, torch.tensor([1]))])
def test_nearest_rows_raises_for_a_k_out_of_range(k, exclude):
    with pytest.raises(ValueError, match=rf"The number of nearest rows is {k}; it must be 1 to [23]\."):
        nearest_rows(torch.zeros(1, 2), torch.zeros(3, 2), k, exclude=exclude)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e20])
def test_nearest_rows_raises_for_values_without_a_finite_distance(value):
    good, bad = torch.zeros(3, 2), torch.tensor([[0.0, value]])
    with pytest.raises(ValueError, match="not finite"):
        nearest_rows(bad, good)
    with pytest.raises(ValueError, match="not finite"):
        nearest_rows(good, torch.cat([good, bad]))
