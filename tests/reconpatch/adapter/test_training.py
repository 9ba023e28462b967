"""Training and application of f, compared with a direct implementation of the paper's steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from adamp import AdamP

from reconpatch.adapter.initialization import initial_map
from reconpatch.adapter.schedule import AdapterConfig, schedule
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training import TrainingProgress, TrainingVariant, _of_images, embed, train_adapter

rng = np.random.default_rng(11)


def patches(n, width, seed=0):
    """Return features in three groups, of which some are copies."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((3, width))[generator.integers(0, 3, n)]
    features = features + 0.3 * generator.standard_normal((n, width))
    features[n // 2 : n // 2 + n // 10] = features[0]
    return features.astype(np.float32)


def distances(features):
    return torch.cdist(*2 * [torch.tensor(features, dtype=torch.float64)]).numpy()


def plain_training(features, config, *, steps, lr, gamma):
    """Return the weight of f and the losses of a training that follows the paper's steps and computes eq. 7 by loops.

    f and g have no bias and are initialized with seeded semi-orthogonal matrices.
    """
    n, width = features.shape
    generator = torch.Generator().manual_seed(config.seed)
    f = torch.nn.init.orthogonal_(torch.empty(config.dim, width), generator=generator).requires_grad_()
    g = torch.nn.init.orthogonal_(torch.empty(config.dim, config.dim), generator=generator).requires_grad_()
    f_bar, g_bar = f.detach().clone(), g.detach().clone()
    optimizer = AdamP([f, g], lr=lr, weight_decay=config.weight_decay)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    losses, epoch = [], 0
    while len(losses) < steps:
        order = np.random.default_rng((config.seed, epoch)).permutation(n)
        epoch += 1
        for start in range(0, n, config.batch_size):
            if len(losses) == steps:
                break
            p = torch.tensor(features[order[start : start + config.batch_size]], dtype=torch.float32)
            z_bar = torch.stack([g_bar @ (f_bar @ row) for row in p])
            if config.normalize:
                z_bar = torch.stack([row / row.norm() for row in z_bar])
            w = similarity(z_bar, config.sigma, config.contrastive_neighbors, config.alpha)
            z = torch.stack([g @ (f @ row) for row in p])
            loss = torch.zeros(())
            for i in range(len(z)):
                norms = [
                    (z[i] - z[j]).norm() if not torch.equal(p[i], p[j]) else torch.zeros(()) for j in range(len(z))
                ]
                mean = (sum(norms) / len(z)).clamp(min=1e-12)
                for j in range(len(z)):
                    delta = norms[j] / mean
                    loss = loss + w[i, j] * delta**2 + (1 - w[i, j]) * (config.margin - delta).clamp(min=0) ** 2
            loss = loss / len(z)
            optimizer.zero_grad()
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
            annealing.step()
            f_bar = gamma * f_bar + (1 - gamma) * f.detach()  # eq. 8
            g_bar = gamma * g_bar + (1 - gamma) * g.detach()
            losses.append(float(loss.detach()))
    return f.detach().numpy(), losses


TINY = {
    "own scale": AdapterConfig(dim=3, epochs=2, batch_size=8, lr=0.02, gamma=0.6, seed=5),
    "normalized, options": AdapterConfig(
        dim=4,
        epochs=2,
        batch_size=8,
        lr=0.02,
        gamma=0.6,
        normalize=True,
        sigma=0.7,
        contrastive_neighbors=6,
        alpha=0.8,
        margin=1.4,
    ),
    "decay": AdapterConfig(dim=3, epochs=2, batch_size=8, lr=0.02, gamma=0.6, weight_decay=0.5),
}


@pytest.mark.parametrize("name", TINY)
def test_two_epochs_with_a_short_last_batch_equal_the_paper_s_steps(name):
    features = patches(21, 5)
    adapter = train_adapter(features, TINY[name])
    weight, losses = plain_training(features, TINY[name], steps=6, lr=0.02, gamma=0.6)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_patch_are_ties_although_a_matrix_product_can_round_them_differently(seed):
    features = patches(42, 5, seed)
    features[rng.random(42) < 0.6] = features[-1]  # a black background covers more than half of the image
    config = AdapterConfig(dim=4, epochs=3, batch_size=14, lr=0.02, gamma=0.6, seed=seed)
    adapter = train_adapter(features, config)
    weight, losses = plain_training(features, config, steps=9, lr=0.02, gamma=0.6)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-4)


@pytest.mark.parametrize(("lr", "raised_lr"), [(2e-4, 1.2e-3), (0.02, 0.02)])
def test_with_fewer_steps_the_raised_rates_are_used(lr, raised_lr):
    features = patches(21, 5)
    # 24 steps are limited to 4, so q is 6. A learning rate of 0.02 is above the cap and is not raised. The fixed sigma
    # makes the losses depend on the scale of the teacher's embeddings.
    config = AdapterConfig(dim=3, epochs=8, max_steps=4, batch_size=8, lr=lr, gamma=0.99, sigma=0.7)
    adapter = train_adapter(features, config)
    weight, losses = plain_training(features, config, steps=4, lr=raised_lr, gamma=0.94)
    assert adapter.schedule == schedule(21, config)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-5)


@pytest.mark.parametrize(("images", "batch_images"), [(7, 4), (3, 4), (1, 2)])
def test_batches_of_a_few_images_have_the_same_number_of_patches_of_each(images, batch_images):
    config = AdapterConfig(batch_size=20, batch_images=batch_images, seed=3)
    drawn_images = min(images, batch_images)
    drawn_rows = []
    for step in range(40):
        rows = _of_images(9 * images, 9, config, step)
        assert (np.diff(rows) > 0).all()
        numbers, counts = np.unique(rows // 9, return_counts=True)
        assert len(numbers) == drawn_images
        assert set(counts) == {min(20 // drawn_images, 9)}
        np.testing.assert_array_equal(rows, _of_images(9 * images, 9, config, step))
        drawn_rows.append(rows)
    assert set(np.concatenate(drawn_rows)) == set(range(9 * images))


def test_with_batch_images_the_batches_are_drawn_from_a_few_images():
    features = patches(45, 5)
    config = AdapterConfig(dim=3, epochs=2, batch_size=12, batch_images=2, lr=0.02)
    drawn = train_adapter(
        features, config, per_image=9, variant=TrainingVariant(draw=lambda step: _of_images(45, 9, config, step))
    )
    trained = train_adapter(features, config, per_image=9)
    assert trained.schedule.steps == 8
    np.testing.assert_array_equal(trained.weight, drawn.weight)
    plain = train_adapter(features, replace(config, batch_images=0), per_image=9)
    assert not np.allclose(trained.weight, plain.weight, atol=1e-4)


def test_a_weight_wider_than_the_features_is_narrowed_and_keeps_all_distances():
    features = patches(21, 4)
    config = AdapterConfig(dim=7, epochs=2, batch_size=8, lr=0.02, gamma=0.6)
    adapter = train_adapter(features, config)
    weight, _ = plain_training(features, config, steps=6, lr=0.02, gamma=0.6)
    assert adapter.weight.shape == (4, 4)
    np.testing.assert_allclose(distances(embed(features, adapter.weight)), distances(features @ weight.T), atol=1e-4)


@pytest.mark.parametrize("dim", [6, 9])
def test_a_layer_at_least_as_wide_as_the_features_starts_with_their_distances(dim):
    features = patches(30, 6)
    adapter = train_adapter(features, AdapterConfig(dim=dim, epochs=1, lr=1e-12, batch_size=16))
    np.testing.assert_allclose(distances(embed(features, adapter.weight)), distances(features), atol=1e-5)


def test_a_narrower_layer_starts_with_orthonormal_rows():
    adapter = train_adapter(patches(30, 6), AdapterConfig(dim=4, epochs=1, lr=1e-12, batch_size=16))
    np.testing.assert_allclose(adapter.weight @ adapter.weight.T, np.eye(4), atol=1e-5)


def test_training_moves_the_layer_and_stays_finite_over_many_steps():
    features = patches(200, 12)
    config = AdapterConfig(dim=8, epochs=100, max_steps=0, batch_size=64, lr=1e-2)
    adapter = train_adapter(features, config)
    start = train_adapter(features, AdapterConfig(dim=8, epochs=1, lr=1e-12, batch_size=64))
    assert np.isfinite(adapter.weight).all()
    assert np.isfinite(adapter.losses).all()
    assert adapter.losses.shape == (400,)
    assert np.abs(adapter.weight - start.weight).max() > 0.1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_training_works_with_very_few_patches(n):
    adapter = train_adapter(patches(20, 5)[:n], AdapterConfig(dim=3, epochs=3))
    assert adapter.losses.shape == (3,)
    assert np.isfinite(adapter.weight).all()


def test_training_works_with_equal_patches():
    adapter = train_adapter(np.full((40, 5), 0.3, dtype=np.float32), AdapterConfig(dim=3, epochs=3, batch_size=16))
    assert np.isfinite(adapter.weight).all()


def test_the_result_depends_only_on_the_seed_and_not_on_global_random_states():
    features = patches(50, 6)
    config = AdapterConfig(dim=4, epochs=4, batch_size=16, lr=1e-2, seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_adapter(features, config)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the training must not depend on the legacy global state
    second = train_adapter(features, config)
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.losses, second.losses)
    other = train_adapter(features, AdapterConfig(dim=4, epochs=4, batch_size=16, lr=1e-2, seed=4))
    assert np.abs(first.weight - other.weight).max() > 0.1


def test_a_read_only_memory_map_of_float16_trains_like_the_array(tmp_path):
    features = patches(50, 6).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    config = AdapterConfig(dim=4, epochs=2, batch_size=16, lr=1e-2)
    expected = train_adapter(features.astype(np.float32), config)
    np.testing.assert_array_equal(train_adapter(mapped, config).weight, expected.weight)
    np.testing.assert_array_equal(embed(mapped, expected.weight), embed(features, expected.weight))


def test_an_initialization_is_equivalent_to_features_multiplied_by_its_map():
    features, config = patches(40, 5), AdapterConfig(dim=4, epochs=3, batch_size=16, lr=1e-2)
    matrix = initial_map(features, "standard", per_image=10)
    mapped = train_adapter((features @ matrix.T).astype(np.float32), config)
    initialized = train_adapter(features, replace(config, init="standard"), per_image=10)
    np.testing.assert_allclose(initialized.weight, mapped.weight @ matrix, rtol=1e-3, atol=1e-4)


def test_with_0_epochs_the_weight_is_the_initial_map():
    features = patches(40, 5)
    adapter = train_adapter(features, AdapterConfig(init="neighbors", epochs=0), per_image=10)
    np.testing.assert_array_equal(adapter.weight, initial_map(features, "neighbors", per_image=10))
    assert (adapter.schedule.steps, len(adapter.losses)) == (0, 0)


def test_a_variant_replaces_batches_and_similarities():
    features, config = patches(40, 5), AdapterConfig(dim=4, epochs=3, batch_size=8, lr=1e-2)
    drawn, weighed = [], []

    def draw(step):
        drawn.append(step)
        return np.arange(step, step + 8)

    def weigh(z_bar):
        weighed.append(z_bar.shape)
        return torch.ones(len(z_bar), len(z_bar))

    adapter = train_adapter(features, config, variant=TrainingVariant(draw=draw, weigh=weigh))
    assert drawn == list(range(15))
    assert weighed == [(8, 4)] * 15
    assert not np.allclose(adapter.losses, train_adapter(features, config).losses)


def test_progress_is_reported_after_every_step():
    calls = []
    config = AdapterConfig(dim=4, epochs=2, batch_size=16)
    train_adapter(
        patches(40, 5), config, progress=TrainingProgress(on_step=lambda step, steps: calls.append((step, steps)))
    )
    assert calls == [(step, 6) for step in range(1, 7)]


def test_features_that_are_not_finite_are_an_error():
    features = patches(40, 5)
    features[17, 2] = np.nan
    with pytest.raises(ValueError, match=r"not finite at step [123] of 3: the patch features contain NaN"):
        train_adapter(features, AdapterConfig(dim=4, epochs=1, batch_size=16))


def test_an_overflow_is_an_error_with_a_remedy():
    features = 1e30 * patches(40, 5)
    with pytest.raises(
        ValueError, match=r"not finite at step 1 of 3\. Reduce lr \(now 0\.01\) or scale .*e\+30 in this batch"
    ):
        train_adapter(features, AdapterConfig(dim=4, epochs=1, batch_size=16, lr=1e-2))


def test_training_of_the_identity_and_features_of_a_wrong_shape_are_errors():
    with pytest.raises(ValueError, match="epochs 0 with init 'raw'"):
        train_adapter(patches(40, 5), AdapterConfig(epochs=0))
    for shape in ((40,), (2, 20, 5)):
        with pytest.raises(ValueError, match="one row per patch"):
            train_adapter(np.zeros(shape, dtype=np.float32), AdapterConfig())
    with pytest.raises(ValueError, match="no patch features"):
        train_adapter(np.zeros((0, 5), dtype=np.float32), AdapterConfig())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_embed_returns_an_array_for_an_array_and_a_tensor_for_a_tensor(dtype):
    features = patches(20_000, 6).astype(dtype)  # more rows than embed processes at a time
    weight = rng.standard_normal((3, 6)).astype(np.float32)
    expected = features.astype(np.float64) @ weight.T.astype(np.float64)
    embedded = embed(features, weight)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    tensor = embed(torch.from_numpy(features), weight)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_without_a_weight_embed_is_a_float32_copy(dtype):
    features = patches(10, 4).astype(dtype)
    for embedded in (embed(features, None), embed(torch.from_numpy(features), None).numpy()):
        assert embedded.dtype == np.float32
        np.testing.assert_array_equal(embedded, features.astype(np.float32))
        assert not np.shares_memory(embedded, features)


def test_embedding_features_of_another_width_is_an_error():
    weight = np.zeros((3, 6), dtype=np.float32)
    for features in (np.zeros((4, 5)), np.zeros(6), torch.zeros(4, 5)):
        with pytest.raises(ValueError, match=r"must have shape \(n, 6\)"):
            embed(features, weight)
    with pytest.raises(ValueError, match=r"must have shape \(n, C'\)"):
        embed(np.zeros(6), None)
