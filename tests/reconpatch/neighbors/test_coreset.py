"""Coreset selection, compared with a loop over the definition of greedy k-center in float64."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconpatch.neighbors import coreset
from reconpatch.neighbors.coreset import Coreset, farthest_first, select_coreset


def naive_greedy(features, k, first=None):
    """Return the picks and the radius, computed one distance at a time."""
    rows = np.asarray(features, np.float64)
    if first is None:
        mean = rows.mean(0)
        first = int(np.argmax([((row - mean) ** 2).sum() for row in rows]))
    picks, nearest = [first], np.array([np.sqrt(((row - rows[first]) ** 2).sum()) for row in rows])
    while len(picks) < k and nearest.max() > 0.0:
        picks.append(int(np.argmax(nearest)))  # of equal distances, the first
        nearest = np.minimum(nearest, [np.sqrt(((row - rows[picks[-1]]) ** 2).sum()) for row in rows])
    return picks, nearest.max()


@cache
def naive_pick(kind, k, first):
    """Return the picks and the radius of `naive_greedy`; the cache is needed because the loop is slow."""
    return naive_greedy(features_of(kind), k, first)


def features_of(kind, n=150, width=12):
    """Return features of one kind, (n, width) float32."""
    random = np.random.default_rng(3)
    noise = random.standard_normal((n, width))
    match kind:
        case "random":
            rows = noise
        case "clustered":
            rows = 20.0 * random.standard_normal((6, width))[random.integers(0, 6, n)] + 0.05 * noise
        case "far clusters":  # products alone cannot resolve the distances inside a cluster
            rows = 1000.0 * random.choice([-1.0, 1.0], (n, 1)) + 1e-3 * noise
        case "far from the origin":
            rows = 5000.0 + 0.1 * noise
        case "duplicated":
            rows = 100.0 + noise[random.integers(0, 40, n)]
        case "gridded":
            rows = random.integers(0, 3, (n, 4)).astype(float)
        case "half constant":  # like a black background
            rows = np.where(random.random((n, 1)) < 0.5, 0.3, noise)
        case "one outlier":
            rows = noise.copy()
            rows[17] *= 1e5
        case _:
            rows = np.full((n, width), 0.1)
    return rows.astype(np.float32)


@pytest.fixture(autouse=True, params=[(1 << 12, 1 << 9), (20, 6), (1, 1)], ids=["whole", "pools", "pools of one"])
def pool(request, monkeypatch):
    """Run each test also with pools that are smaller than its features, as they are for large inputs."""
    for name, size in zip(("_POOL", "_BLOCK"), request.param, strict=True):
        monkeypatch.setattr(coreset, name, size)


KINDS = [
    "random",
    "clustered",
    "far clusters",
    "far from the origin",
    "duplicated",
    "gridded",
    "half constant",
    "one outlier",
    "equal",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_pick_is_the_farthest_point(kind):
    features = features_of(kind)
    rows = features.astype(np.float64)
    picks = select_coreset(features, 1.0).indices
    nearest = np.sqrt(((rows - rows[picks[0]]) ** 2).sum(1))
    for pick in picks[1:]:
        assert nearest[pick] >= nearest.max() * (1.0 - 1e-5)
        assert nearest[pick] > 0.0  # no row and no duplicate of it is picked twice
        nearest = np.minimum(nearest, np.sqrt(((rows - rows[pick]) ** 2).sum(1)))
    assert nearest.max() == 0.0
    assert len(picks) == len(np.unique(features, axis=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ratio", "first"), [(0.01, None), (0.2, None), (0.2, 5), (1.0, 0)])
def test_the_selection_equals_that_of_the_loop(kind, ratio, first):
    features = features_of(kind)
    picks, radius = naive_pick(kind, max(1, round(ratio * len(features))), first)
    found = select_coreset(features, ratio, first=first)
    assert found.indices.tolist() == picks
    assert found.radius == pytest.approx(radius, rel=1e-5)
    alone = farthest_first(features, ratio, first=first)
    assert alone.indices.tolist() == picks
    assert alone.radius == pytest.approx(found.radius, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.001, 0.1, 1.0])
def test_the_two_nearest_entries_of_every_row(kind, ratio):
    features = features_of(kind)
    found = select_coreset(features, ratio)
    rows, entries = features.astype(np.float64), features[found.indices].astype(np.float64)
    distances = np.array([[np.sqrt(((row - entry) ** 2).sum()) for entry in entries] for row in rows])
    assert found.radius == found.nearest_distance.max()
    np.testing.assert_allclose(found.nearest_distance, distances.min(1), rtol=1e-6)
    np.testing.assert_allclose(distances[np.arange(len(rows)), found.nearest], distances.min(1), rtol=1e-6)
    if len(entries) == 1:
        assert np.isinf(found.second_distance).all()
    else:
        np.testing.assert_allclose(found.second_distance, np.sort(distances, 1)[:, 1], rtol=1e-6)
    assert found.nearest[found.indices].tolist() == list(range(len(entries)))
    assert not found.nearest_distance[found.indices].any()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(1, 3), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_ties_on_small_grids_go_to_the_lowest_index(n, width, ratio, seed):
    random = np.random.default_rng(seed)
    features = random.integers(0, 3, (n, width)).astype(np.float32)
    first = int(random.integers(0, n))
    found = select_coreset(features, ratio, first=first)
    assert found.indices.tolist() == naive_greedy(features, max(1, round(ratio * n)), first)[0]
    distances = ((features[:, None] - features[found.indices][None]) ** 2).sum(2)
    assert found.nearest.tolist() == distances.argmin(1).tolist()


def test_the_first_pick_is_farthest_from_the_mean_if_float32_rounds_the_mean():
    offsets = np.zeros((100, 3))
    offsets[0], offsets[1], offsets[2] = -4.0, 4.0, (3.3125, -3.0, -3.0)
    features = (1e6 + offsets).astype(np.float32)  # float32 has steps of 1/16; its rounded mean is nearer to row 1
    assert select_coreset(features, 0.01).indices.tolist() == naive_greedy(features, 1)[0] == [1]


def test_the_first_pick_is_the_lowest_row_of_equally_far_rows():
    corners = np.array([[1, 1], [0, 0], [3, 0], [0, 3], [3, 3]], np.float32)  # four corners at equal distance
    corners[0] = 1.5
    assert select_coreset(corners, 0.2).indices.tolist() == [1]


@pytest.mark.parametrize(
    ("n", "ratio", "k"), [(1, 0.01, 1), (40, 0.01, 1), (149, 0.01, 1), (250, 0.1, 25), (7, 1.0, 7)]
)
def test_number_of_entries(n, ratio, k):
    features = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    picked = []
    found = select_coreset(features, ratio, on_pick=lambda *progress: picked.append(progress))
    assert len(found.indices) == k
    assert picked == [(i, k) for i in range(1, k + 1)]


def test_results_do_not_depend_on_the_blocks(monkeypatch):
    features = features_of("clustered")
    expected = select_coreset(features, 0.3)
    monkeypatch.setattr(coreset, "_ROWS", 7)
    found = select_coreset(features, 0.3)
    for name in ("indices", "radius", "nearest", "nearest_distance", "second_distance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kinds_of_arrays_and_dtypes(dtype, tmp_path):
    features = features_of("random").astype(dtype)
    single = np.float64 if dtype == np.float64 else np.float32
    arrays = select_coreset(features, 0.1)
    tensors = select_coreset(torch.from_numpy(features), 0.1)
    path = tmp_path / "features"
    features.tofile(path)
    mapped = select_coreset(np.memmap(path, dtype, "r", shape=features.shape), 0.1)
    assert arrays.indices.tolist() == naive_greedy(features, 15)[0]
    assert arrays.nearest_distance.dtype == arrays.second_distance.dtype == single
    assert arrays.indices.dtype == arrays.nearest.dtype == np.int64
    assert isinstance(arrays.radius, float)
    for name in ("indices", "nearest", "nearest_distance", "second_distance"):
        assert isinstance(getattr(arrays, name), np.ndarray)
        assert isinstance(getattr(tensors, name), torch.Tensor)
        np.testing.assert_array_equal(getattr(tensors, name).numpy(), getattr(arrays, name))
        np.testing.assert_array_equal(getattr(mapped, name), getattr(arrays, name))


def test_the_features_are_not_modified():
    features = torch.randn(50, 4, requires_grad=True)
    before = features.detach().clone()
    found = select_coreset(features, 0.1)
    assert torch.equal(features, before)
    assert isinstance(found, Coreset)
    assert not found.nearest_distance.requires_grad


GOOD = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (np.zeros(3, np.float32), {}, "shape"),
        (np.zeros((0, 3), np.float32), {}, "at least one row"),
        (np.zeros((3, 0), np.float32), {}, "shape"),
        (np.array([[0.0, np.nan]]), {}, "not finite"),
        (np.array([[0.0, 1.0], [np.inf, 1.0]], np.float16), {}, "not finite"),
        (np.array([[0.0, 1e30], [0.0, 0.0]], np.float32), {}, "large"),
        (GOOD, {"ratio": 0.0}, "ratio"),
        (GOOD, {"ratio": 1.01}, "ratio"),
        (GOOD, {"ratio": float("nan")}, "ratio"),
        (GOOD, {"first": 3}, "0 to 2"),
        (GOOD, {"first": -1}, "0 to 2"),
    ],
)
def test_invalid_arguments_raise(features, options, message):
    with pytest.raises(ValueError, match=message):
        select_coreset(features, **options)
