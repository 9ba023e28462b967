"""Number of steps, learning rate and gamma of a training, and the ranges of the options."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.adapter.schedule import AdapterConfig, Schedule, schedule


def test_without_more_than_max_steps_the_schedule_is_that_of_the_paper():
    # An epoch has ⌈1000 / 512⌉ = 2 steps.
    config = AdapterConfig(epochs=120, lr=1e-5, gamma=0.999, max_steps=3000)
    assert schedule(1000, config) == Schedule(240, 240, 1e-5, 0.999, lr_capped=False)


def test_max_steps_0_means_no_limit():
    config = AdapterConfig(epochs=120, max_steps=0)
    assert schedule(1_407_600, config) == Schedule(330_000, 330_000, 1e-5, 0.999, lr_capped=False)


def test_with_fewer_steps_the_rates_are_raised():
    # 391 images of 480 px have 1 407 600 patches. An epoch has 2750 steps, and q = 330 000 / 3000 = 110.
    plan = schedule(1_407_600, AdapterConfig(epochs=120, max_steps=3000, lr=1e-6, gamma=0.999))
    assert (plan.steps, plan.full_steps) == (3000, 330_000)
    assert plan.lr == pytest.approx(1.1e-4)
    assert plan.gamma == pytest.approx(0.9)  # 0.001 · 110 is above the cap of 0.1
    assert not plan.lr_capped
    plan = schedule(1_407_600, AdapterConfig(epochs=12, max_steps=3000, lr=1e-6, gamma=0.999))
    assert plan.lr == pytest.approx(1.1e-5)
    assert plan.gamma == pytest.approx(1 - 0.011)


def test_the_raised_learning_rate_is_capped_at_3e_3():
    plan = schedule(1_407_600, AdapterConfig(epochs=120, max_steps=3000, lr=1e-4))
    assert plan.lr == 3e-3
    assert plan.lr_capped


def test_options_above_the_caps_are_not_changed():
    plan = schedule(1_407_600, AdapterConfig(epochs=120, max_steps=3000, lr=0.02, gamma=0.7))
    assert plan.lr == 0.02
    assert plan.lr_capped
    assert plan.gamma == pytest.approx(0.7)


def test_the_short_last_batch_of_an_epoch_is_a_step():
    config = AdapterConfig(epochs=3, batch_size=10)
    assert [schedule(n, config).steps for n in (1, 10, 11, 20, 21)] == [3, 3, 6, 6, 9]


@given(
    n=st.integers(1, 10**7),
    epochs=st.integers(1, 200),
    limit=st.integers(0, 10**4),
    lr=st.floats(1e-8, 1e-1),
    gamma=st.floats(0, 1),
)
def test_a_limit_never_adds_steps_or_lowers_the_rates(*, n, epochs, limit, lr, gamma):
    plan = schedule(n, AdapterConfig(epochs=epochs, max_steps=limit, lr=lr, gamma=gamma))
    assert 1 <= plan.steps <= plan.full_steps
    assert limit == 0 or plan.steps <= limit
    assert lr <= plan.lr <= max(lr, 3e-3)
    assert min(gamma, 0.9) - 1e-12 <= plan.gamma <= gamma + 1e-12


def test_a_schedule_without_patches_is_an_error():
    with pytest.raises(ValueError, match="no patch features"):
        schedule(0, AdapterConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("init", "best"),
        ("dim", 0),
        ("epochs", -1),
        ("max_steps", -1),
        ("lr", 0.0),
        ("lr", 1.1),
        ("batch_size", 1),
        ("batch_images", -1),
        ("batch_images", 257),
        ("sigma", 0.0),
        ("sigma", math.nan),
        ("contrastive_neighbors", 3),
        ("alpha", 1.5),
        ("margin", -0.1),
        ("gamma", 1.01),
        ("weight_decay", -1e-3),
        ("seed", -1),
    ],
)
def test_an_option_out_of_range_is_an_error_that_names_it(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*; got "):
        AdapterConfig(**{name: value})
