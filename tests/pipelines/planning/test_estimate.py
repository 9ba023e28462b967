"""Tests of the estimate of `--dry-run`: no work takes no time, and more work takes longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm

from pipelines.commands.run import dry_run
from pipelines.config.networks import Network, load_backbones, load_networks
from pipelines.config.run_config import RunConfig
from pipelines.data.records import ImageRecord
from pipelines.planning.batches import FeatureSpec, ImageBatch
from pipelines.planning.cache_keys import Keys
from pipelines.planning.estimate import estimated_hours
from pipelines.planning.jobs import CategoryPlan, MemberJob
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from tests.pipelines.runs import MEMBER, make_category

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=96, workers=1)
NETWORK = Network("", "", 144, 152)


def plan(images: int, *, fit: bool) -> CategoryPlan:
    listed = tuple(ImageRecord("c", "train", "good", str(number), part="fit") for number in range(images))
    job = MemberJob(
        category="c",
        member=MEMBER,
        keys=Keys("", "", "", "", ""),
        network=NETWORK,
        images=listed,
        fit_shards=(),
        score_shards=(),
        fit=fit,
        select=True,
        score=True,
    )
    spec = FeatureSpec.of(MEMBER, CONFIG)
    batch = ImageBatch(category="c", spec=spec, source=Store.of("data"), shard="s", images=listed)
    return CategoryPlan(
        category="c", images=listed, members=(job,), batches=(batch,), fuse=None, version="", scratch_bytes=0
    )


def test_no_work_takes_no_time() -> None:
    assert estimated_hours([], CONFIG, {}) == 0.0


def test_more_images_and_training_take_longer_and_more_workers_shorten_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_second(work: Callable[[], object]) -> float:
        work()
        return 1.0

    monkeypatch.setattr("pipelines.planning.estimate._timed", one_second)  # independent of the load
    backbones = load_backbones(CONFIG)
    few, many = (estimated_hours([plan(images, fit=False)], CONFIG, backbones) for images in (200, 4000))
    assert 0 < few < many
    assert estimated_hours([plan(200, fit=True)], CONFIG, backbones) > few
    shared = estimated_hours([plan(4000, fit=False)], replace(CONFIG, workers=8), backbones)
    assert shared < many


def test_a_dry_run_loads_each_backbone_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing the weights, planning the features and timing the trial share one loaded backbone."""
    make_category(tmp_path / "data" / "nut", seed=0, train=2, good=1, defects=1)
    config = replace(CONFIG, data=str(tmp_path / "data"), out=str(tmp_path / "out"))
    made: list[str] = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: made.append(name) or create(name, **options))
    load_networks(config)
    once = len(made)
    assert dry_run(config, Console()) == 0
    assert len(made) == 2 * once > 0
    assert not (tmp_path / "out").exists()


def test_a_dry_run_names_what_is_left_out_and_the_categories_that_would_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_category(tmp_path / "data" / "nut", seed=0, train=2, good=1, defects=1)
    (tmp_path / "data" / "bolt" / "train" / "bad").mkdir(parents=True)
    (tmp_path / "data" / "bolt" / "train" / "bad" / "1.png").write_bytes(b"x")
    config = replace(CONFIG, data=str(tmp_path / "data"), out=str(tmp_path / "out"))
    assert dry_run(config, Console()) == 1
    warnings = capsys.readouterr().err
    assert "bolt/train/bad/1.png: excluded from training, because " in warnings
    assert "warning: bolt/train/good has no readable image. Add good training images.\n" in warnings
