"""Tests of the prediction of large nightly runs from the costs of small ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.nightly.costs import LARGE, SMALL, STAGES, NetworkCosts, NightCosts, NightSize, fit, seconds
from benchmarks.nightly.scale import _GPU_PICK, _GPU_STEP, Ensemble, bottleneck, needs, nodes
from pipelines.errors import UsageError

NETWORK = NetworkCosts(cells=784, width=152, dim=152, coreset=0.02, epochs=1, forward=0.02, decode=0.004)
COSTS = NightCosts(
    network=NETWORK,
    start=dict.fromkeys(STAGES, 1.0),
    category=dict.fromkeys(STAGES, 0.5),
    work={stage: 0.03 if stage == "extract" else 0.001 for stage in STAGES},
    cores=2,
    listing=(1e-4, 2500.0),
    bank_bytes=4.5,
    score_bytes=300.0,
    report_bytes=1e5,
    products=5e10,
)
SMALL_ENSEMBLE = Ensemble("small", (NETWORK,))


def test_the_fit_recovers_the_costs_from_the_times_of_nightly_runs() -> None:
    taken = {stage: [seconds(COSTS, size, 2)[stage] for size in SMALL] for stage in STAGES}
    start, category, work = fit(taken, NETWORK, 2)
    fitted = replace(COSTS, start=start, category=category, work=work)
    assert seconds(fitted, LARGE, 2) == pytest.approx(seconds(COSTS, LARGE, 2), rel=1e-6)


def test_saved_costs_are_read_back_unchanged(tmp_path: Path) -> None:
    COSTS.save(tmp_path / "costs.json")
    assert NightCosts.load(tmp_path / "costs.json") == COSTS


def test_costs_of_another_version_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    COSTS.save(file)
    file.write_text(file.read_text().replace('"predict"', '"judge"'))
    with pytest.raises(UsageError, match=r"does not contain the costs .* Delete the file and measure the costs again"):
        NightCosts.load(file)


def test_more_cores_shorten_every_stage_except_the_driver() -> None:
    night = NightSize(categories=100, learned=5, good=200, today=100)
    few, many = seconds(COSTS, night, 2), seconds(COSTS, night, 200)
    assert few["driver"] == many["driver"]
    assert all(many[stage] < few[stage] for stage in STAGES if stage != "driver")


def test_two_members_double_the_work_of_the_stages_that_run_for_each_member() -> None:
    night = NightSize(categories=100, learned=5, good=200, today=100)
    one, two = (needs(COSTS, Ensemble("", (NETWORK,) * number), night) for number in (1, 2))
    for stage in ("extract", "fit", "select", "score", "predict"):
        assert two.cpu[stage] == pytest.approx(2 * one.cpu[stage])
    for stage in ("index", "fuse", "report"):
        assert two.cpu[stage] == pytest.approx(one.cpu[stage])
    assert (two.scratch, two.models) == pytest.approx((2 * one.scratch, 2 * one.models))
    assert (two.scores, two.head) == (one.scores, one.head)


def test_a_gpu_takes_over_the_forward_passes_but_not_the_decoding() -> None:
    needed = needs(COSTS, SMALL_ENSEMBLE, NightSize(categories=10, learned=1, good=200, today=1000))
    assert needed.card > 0
    assert 0 < needed.gpu["extract"] < needed.cpu["extract"]
    assert needed.gpu["index"] == needed.cpu["index"]


def test_a_gpu_spends_a_minimum_time_on_every_training_step_and_coreset_step() -> None:
    night = NightSize(categories=50, learned=50, good=200, today=0)
    patches = 0.8 * 200 * 784
    steps, picks = patches / 512, 0.02 * patches
    assert needs(COSTS, SMALL_ENSEMBLE, night).card >= 50 * (steps * _GPU_STEP + picks * _GPU_PICK)


def test_the_first_exceeded_limit_is_named() -> None:
    few = needs(COSTS, SMALL_ENSEMBLE, NightSize(10, 1, 200, 1000))
    assert bottleneck(few, 1) == ""
    assert bottleneck(few, 1000) == "nodes"
    assert bottleneck(replace(few, scratch=3e12), 2) == "scratch: waves"
    assert bottleneck(replace(few, driver=20_000.0), 1) == "the driver's time"
    assert bottleneck(replace(few, head=1e11, driver=20_000.0), 1000) == "the driver's memory"


def test_the_slower_of_cpus_and_gpus_determines_the_number_of_nodes() -> None:
    assert nodes(32 * 3600.0, 0.0, 3600.0) == 1
    assert nodes(32 * 3601.0, 0.0, 3600.0) == 2
    assert nodes(1.0, 3 * 3600.0, 3600.0) == 3
