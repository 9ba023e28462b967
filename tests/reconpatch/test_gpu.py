"""Results on a GPU equal those on a CPU, which other tests compare with loops, and repeated results are bitwise equal.

The tests are skipped on machines without a GPU. Float32 sums in another order differ in their last digits; decisions by
distances (neighbors, picks, ties) must not differ.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reconpatch.adapter.losses import relaxed_contrastive_loss
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training import TrainingProgress, embed, train_adapter
from reconpatch.detector.fusion import find_peaks, fuse_maps, largest_scores
from reconpatch.evaluation.outliers import unexplained
from reconpatch.features.backbones import load_backbone
from reconpatch.features.patches import extract_features, patch_features
from reconpatch.imaging.anomaly_maps import anomaly_map
from reconpatch.neighbors import coreset
from reconpatch.neighbors.coreset import farthest_first, select_coreset
from reconpatch.neighbors.distances import nearest_rows, neighborhoods, squared_distances, squared_lengths
from reconpatch.neighbors.memory_bank import MemoryBank
from tests.reconpatch.adapter.test_training import patches
from tests.reconpatch.neighbors import test_coreset, test_distances, test_memory_bank

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is available")

GPU = "cuda"


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", test_distances.KINDS)
def test_distances_neighborhoods_and_nearest_rows(kind: str) -> None:
    x = test_distances.rows_of(kind, 200, 24)
    there = x.to(GPU)
    squared = squared_distances(there)
    torch.testing.assert_close(squared.cpu(), squared_distances(x), rtol=2e-7, atol=0.0)
    assert torch.equal(squared, squared.T)
    assert torch.equal(neighborhoods(there, 5).cpu(), neighborhoods(x, 5))
    indices, distances = nearest_rows(there[:150], there[50:], 3)
    expected = nearest_rows(x[:150], x[50:], 3)
    assert torch.equal(indices.cpu(), expected[0])
    torch.testing.assert_close(distances.cpu(), expected[1], rtol=1e-6, atol=0.0)


def test_nearest_rows_of_more_than_a_block() -> None:
    x = drawn(70_000, 32)
    indices, distances = nearest_rows(x.to(GPU), x[:5_000].to(GPU), 2)
    expected = nearest_rows(x, x[:5_000], 2)
    assert torch.equal(indices.cpu(), expected[0])
    torch.testing.assert_close(distances.cpu(), expected[1], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("kind", test_distances.KINDS)
def test_similarities_and_the_loss_with_its_gradient(kind: str) -> None:
    x = test_distances.rows_of(kind, 60, 24)
    weights, gradients = [], []
    for z in (x.clone(), x.to(GPU)):
        weights.append(similarity(z))
        loss = relaxed_contrastive_loss(z.requires_grad_(), weights[-1])
        gradients.append(torch.autograd.grad(loss, z)[0].cpu())
    torch.testing.assert_close(weights[1].cpu(), weights[0], rtol=1e-5, atol=1e-6)
    scale = float(gradients[0].abs().max())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize(("pool", "block"), [(1 << 26, 1 << 13), (20, 6)], ids=["whole", "pools"])
@pytest.mark.parametrize("kind", test_coreset.KINDS)
def test_the_coreset(kind: str, pool: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreset, "_POOL_GPU", pool)
    monkeypatch.setattr(coreset, "_BLOCK_GPU", block)
    monkeypatch.setattr(coreset, "_BLOCK", block)
    features = torch.from_numpy(test_coreset.features_of(kind))
    found, expected = select_coreset(features.to(GPU), 0.2), select_coreset(features, 0.2)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.nearest.tolist() == expected.nearest.tolist()
    assert found.radius == pytest.approx(expected.radius, rel=1e-6)


@pytest.mark.parametrize("few", range(1, 20))
def test_squared_lengths_do_not_depend_on_the_number_of_rows(few: int) -> None:
    rows = drawn(1_000, 512)
    assert torch.equal(squared_lengths(rows[:few].clone().to(GPU)), squared_lengths(rows.clone().to(GPU))[:few])


def test_ties_of_wide_features_go_to_the_lowest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances of equal rows must be equal, no matter how many rows are measured at once."""
    monkeypatch.setattr(coreset, "_POOL_GPU", 1 << 14)
    monkeypatch.setattr(coreset, "_BLOCK_GPU", 16)
    monkeypatch.setattr(coreset, "_BLOCK", 16)
    features = drawn(300, 512)[torch.randint(300, (900,), generator=torch.Generator().manual_seed(1))]
    found, expected = farthest_first(features, 0.3, device=GPU), farthest_first(features, 0.3)
    assert found.indices.tolist() == expected.indices.tolist()


def test_the_coreset_of_features_that_are_not_on_the_gpu() -> None:
    """A run selects in the same way: features in half precision on the CPU, moved to the GPU in blocks."""
    features = drawn(30_000, 128).half().numpy()
    found, expected = farthest_first(features, 0.01, device=GPU), farthest_first(features, 0.01)
    assert isinstance(found.indices, np.ndarray)
    assert found.indices.tolist() == expected.indices.tolist()


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize("kind", test_memory_bank.KINDS)
def test_scores(kind: str, left_out: bool) -> None:
    bank, features, own = test_memory_bank.case(kind)
    itself = own if left_out else None
    expected = MemoryBank(bank, 3).query(features, itself)
    on_gpu = MemoryBank(torch.from_numpy(bank).to(GPU), 3)
    for given in (features, torch.from_numpy(features).to(GPU)):
        found = on_gpu.query(given, itself)
        assert type(found.scores) is type(given)
        np.testing.assert_allclose(torch.as_tensor(found.scores).cpu(), expected.scores, rtol=1e-5)
        assert found.nearest.tolist() == expected.nearest.tolist()


def test_unexplained_patches() -> None:
    entries, features = drawn(40, 8), drawn(30, 8, seed=1)
    nearest, own = nearest_rows(features, entries)[0][:, 0], torch.tensor([3, 4, 5])
    expected = unexplained(features, nearest, MemoryBank(entries), own)
    found = unexplained(features.to(GPU), nearest.to(GPU), MemoryBank(entries.to(GPU)), own)
    assert (found.patch, found.entry) == (expected.patch, expected.entry)
    assert found.distance == pytest.approx(expected.distance, rel=1e-6)


@pytest.mark.parametrize("init", ["raw", "neighbors"])
def test_training(init: str) -> None:
    """The first steps equal those on a CPU; later, rounding errors grow with the steps, on a CPU as well."""
    features = patches(400, 24)
    config = AdapterConfig(init=init, dim=12, epochs=2, batch_size=100, lr=1e-3, seed=3)
    expected = train_adapter(features, config, per_image=40)
    found = train_adapter(features, config, per_image=40, device=GPU)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-3)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-3 * np.abs(expected.weight).max())


def test_repeated_and_resumed_training_are_bitwise_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    features = patches(3_000, 160)
    config = AdapterConfig(dim=64, epochs=10, batch_size=512, lr=1e-3, seed=3)
    first = train_adapter(features, config, device=GPU)
    second = train_adapter(features, config, device=GPU)
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(first.weight, second.weight)

    monkeypatch.setattr("reconpatch.adapter.training.KEEP_EVERY", 0.0)
    kept: list[dict[str, np.ndarray]] = []
    train_adapter(features, config, device=GPU, progress=TrainingProgress(save_checkpoint=kept.append))
    third = train_adapter(features, config, device=GPU, progress=TrainingProgress(checkpoint=kept[len(kept) // 2]))
    np.testing.assert_array_equal(first.losses, third.losses)
    np.testing.assert_array_equal(first.weight, third.weight)


def test_embedding_maps_and_fusion() -> None:
    features, weight = drawn(500, 160), drawn(64, 160, seed=1).numpy()
    expected = embed(features, weight)
    torch.testing.assert_close(embed(features.to(GPU), weight).cpu(), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(embed(features.numpy(), weight, GPU), expected, rtol=1e-5, atol=1e-4)

    grids = drawn(3, 14, 14).abs(), drawn(3, 7, 7).abs()
    grids[0][1, 2, 3] = torch.nan
    there = [each.to(GPU) for each in grids]
    torch.testing.assert_close(
        anomaly_map(there[0], 56).cpu(), anomaly_map(grids[0], 56), rtol=1e-5, atol=1e-5, equal_nan=True
    )
    fused = fuse_maps(there)
    torch.testing.assert_close(fused.cpu(), fuse_maps(grids), rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(largest_scores(fused).cpu(), largest_scores(fused.cpu()))
    for name, peaks in vars(find_peaks(fused, there)).items():
        assert torch.equal(peaks.cpu(), getattr(find_peaks(fused.cpu(), grids), name)), name


@pytest.mark.parametrize("aggregation", ["patchcore", "concat"])
def test_patch_features_are_summed_in_full_precision(aggregation: str) -> None:
    layers = [drawn(2, 40, 28, 28), drawn(2, 112, 14, 14, seed=1)]
    found = patch_features([level.to(GPU) for level in layers], 3, aggregation)
    torch.testing.assert_close(found.cpu(), patch_features(layers, 3, aggregation), rtol=1e-5, atol=1e-5)


def test_features_of_a_backbone_equal_the_cpu_s_in_half_precision_and_repeat_exactly() -> None:
    images = np.random.default_rng(0).random((4, 3, 96, 96), np.float32)
    found, expected = (
        extract_features(load_backbone("tf_efficientnet_lite0", image_size=96, device=device), images, 3, "concat")
        for device in (GPU, "cpu")
    )
    assert found[1] == expected[1]
    scale = np.abs(expected[0]).max()
    np.testing.assert_allclose(found[0].astype(np.float32), expected[0].astype(np.float32), atol=2e-3 * float(scale))
    again = load_backbone("tf_efficientnet_lite0", image_size=96, device=GPU)
    np.testing.assert_array_equal(extract_features(again, images, 3, "concat")[0], found[0])
