"""Training f and applying it, against the paper's steps one after the other."""

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
    """Three groups of features, and some copies."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((3, width))[generator.integers(0, 3, n)]
    features = features + 0.3 * generator.standard_normal((n, width))
    features[n // 2 : n // 2 + n // 10] = features[0]
    return features.astype(np.float32)


def distances(features):
    return torch.cdist(*2 * [torch.tensor(features, dtype=torch.float64)]).numpy()


def plain_training(features, config, *, steps, lr, gamma):
    """The paper's steps one after the other, the loss as a double loop; f and g semi-orthogonal, seeded, no bias."""
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
def test_two_epochs_with_a_short_last_batch_are_the_paper_s_steps(name):
    features = patches(21, 5)
    adapter = train_adapter(features, TINY[name])
    weight, losses = plain_training(features, TINY[name], steps=6, lr=0.02, gamma=0.6)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_patch_are_ties_whatever_the_matrix_product_makes_of_them(seed):
    features = patches(42, 5, seed)
    features[rng.random(42) < 0.6] = features[-1]  # half of the picture is a black background
    config = AdapterConfig(dim=4, epochs=3, batch_size=14, lr=0.02, gamma=0.6, seed=seed)
    adapter = train_adapter(features, config)
    weight, losses = plain_training(features, config, steps=9, lr=0.02, gamma=0.6)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-4)


@pytest.mark.parametrize(("lr", "raised_lr"), [(2e-4, 1.2e-3), (0.02, 0.02)])
def test_with_fewer_steps_the_raised_rates_are_used(lr, raised_lr):
    features = patches(21, 5)
    # 24 steps in 4, q = 6; a learning rate of 0.02 is above the cap and stays. A fixed sigma sees the teacher's scale.
    config = AdapterConfig(dim=3, epochs=8, max_steps=4, batch_size=8, lr=lr, gamma=0.99, sigma=0.7)
    adapter = train_adapter(features, config)
    weight, losses = plain_training(features, config, steps=4, lr=raised_lr, gamma=0.94)
    assert adapter.schedule == schedule(21, config)
    np.testing.assert_allclose(adapter.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(adapter.weight, weight, atol=1e-5)


@pytest.mark.parametrize(("images", "asked"), [(7, 4), (3, 4), (1, 2)])
def test_batches_of_a_few_images_have_as_many_patches_of_each(images, asked):
    config = AdapterConfig(batch_size=20, batch_images=asked, seed=3)
    some = min(images, asked)
    seen = []
    for step in range(40):
        rows = _of_images(9 * images, 9, config, step)
        assert (np.diff(rows) > 0).all()
        of, counts = np.unique(rows // 9, return_counts=True)
        assert len(of) == some
        assert set(counts) == {min(20 // some, 9)}
        np.testing.assert_array_equal(rows, _of_images(9 * images, 9, config, step))
        seen.append(rows)
    assert set(np.concatenate(seen)) == set(range(9 * images))


def test_training_takes_its_batches_from_a_few_images():
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


def test_wider_than_the_features_the_weight_is_narrowed_and_keeps_all_distances():
    features = patches(21, 4)
    config = AdapterConfig(dim=7, epochs=2, batch_size=8, lr=0.02, gamma=0.6)
    adapter = train_adapter(features, config)
    weight, _ = plain_training(features, config, steps=6, lr=0.02, gamma=0.6)
    assert adapter.weight.shape == (4, 4)
    np.testing.assert_allclose(distances(embed(features, adapter.weight)), distances(features @ weight.T), atol=1e-4)


@pytest.mark.parametrize("dim", [6, 9])
def test_training_starts_at_the_features_own_distances_where_the_width_allows(dim):
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
def test_a_handful_of_patches_can_be_trained_on(n):
    adapter = train_adapter(patches(20, 5)[:n], AdapterConfig(dim=3, epochs=3))
    assert adapter.losses.shape == (3,)
    assert np.isfinite(adapter.weight).all()


def test_a_category_of_equal_patches_can_be_trained_on():
    adapter = train_adapter(np.full((40, 5), 0.3, dtype=np.float32), AdapterConfig(dim=3, epochs=3, batch_size=16))
    assert np.isfinite(adapter.weight).all()


def test_the_seed_alone_decides():
    features = patches(50, 6)
    config = AdapterConfig(dim=4, epochs=4, batch_size=16, lr=1e-2, seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_adapter(features, config)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the legacy global state is what must not matter
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


def test_a_start_is_the_same_as_features_that_are_multiplied_by_it():
    features, config = patches(40, 5), AdapterConfig(dim=4, epochs=3, batch_size=16, lr=1e-2)
    matrix = initial_map(features, "standard", per_image=10)
    mapped = train_adapter((features @ matrix.T).astype(np.float32), config)
    started = train_adapter(features, replace(config, init="standard"), per_image=10)
    np.testing.assert_allclose(started.weight, mapped.weight @ matrix, rtol=1e-3, atol=1e-4)


def test_without_training_a_start_stands_alone():
    features = patches(40, 5)
    adapter = train_adapter(features, AdapterConfig(init="neighbors", epochs=0), per_image=10)
    np.testing.assert_array_equal(adapter.weight, initial_map(features, "neighbors", per_image=10))
    assert (adapter.schedule.steps, len(adapter.losses)) == (0, 0)


def test_batches_and_weights_may_come_from_the_caller():
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


def test_progress_is_told_after_every_step():
    calls = []
    config = AdapterConfig(dim=4, epochs=2, batch_size=16)
    train_adapter(
        patches(40, 5), config, progress=TrainingProgress(on_step=lambda step, steps: calls.append((step, steps)))
    )
    assert calls == [(step, 6) for step in range(1, 7)]


def test_features_that_are_not_finite_stop_training_and_are_named():
    features = patches(40, 5)
    features[17, 2] = np.nan
    with pytest.raises(ValueError, match=r"not finite at step [123] of 3: the patch features hold NaN"):
        train_adapter(features, AdapterConfig(dim=4, epochs=1, batch_size=16))


def test_an_overflow_stops_training_and_says_what_to_try():
    features = 1e30 * patches(40, 5)
    with pytest.raises(
        ValueError, match=r"not finite at step 1 of 3: try a lower lr than 0\.01, or smaller .*e\+30 in this batch"
    ):
        train_adapter(features, AdapterConfig(dim=4, epochs=1, batch_size=16, lr=1e-2))


def test_the_identity_is_not_trained_and_only_matrices_are():
    with pytest.raises(ValueError, match="epochs is 0"):
        train_adapter(patches(40, 5), AdapterConfig(epochs=0))
    for shape in ((40,), (2, 20, 5)):
        with pytest.raises(ValueError, match="one patch a row"):
            train_adapter(np.zeros(shape, dtype=np.float32), AdapterConfig())
    with pytest.raises(ValueError, match="no patch features"):
        train_adapter(np.zeros((0, 5), dtype=np.float32), AdapterConfig())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_embed_applies_the_layer_and_keeps_the_kind(dtype):
    features = patches(20_000, 6).astype(dtype)  # more than a block
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


def test_embed_refuses_features_of_another_width():
    weight = np.zeros((3, 6), dtype=np.float32)
    for features in (np.zeros((4, 5)), np.zeros(6), torch.zeros(4, 5)):
        with pytest.raises(ValueError, match=r"must be \(n, 6\)"):
            embed(features, weight)
    with pytest.raises(ValueError, match=r"must be \(n, C'\)"):
        embed(np.zeros(6), None)
