"""The estimate of --dry-run: no work is no time, more work is more."""

from __future__ import annotations

from dataclasses import replace

from pipelines.chunks import Chunk, View
from pipelines.config import RunConfig, resolve_members
from pipelines.estimate import estimated_hours
from pipelines.keys import Keys
from pipelines.networks import Network
from pipelines.plan import CategoryPlan, Unit
from pipelines.storage import Store
from pipelines.walk import Image

(MEMBER,) = resolve_members("ensemble", ["tf_efficientnet_lite0"], 96, {})
CONFIG = RunConfig("ensemble", "data", "out", (MEMBER,), 96, workers=1)
NETWORKS = {MEMBER.backbone: Network("", "", 144, 152)}


def plan(images: int, *, fit: bool) -> CategoryPlan:
    mine = tuple(Image("c", "train", "good", str(number), part="fit") for number in range(images))
    unit = Unit("c", MEMBER, Keys("", "", "", "", ""), NETWORKS[MEMBER.backbone], mine, (), (), fit, True, True)
    chunk = Chunk("c", View.of(MEMBER, CONFIG), Store.of("data"), "s", mine)
    return CategoryPlan("c", mine, (unit,), (chunk,), True, "", 0)


def test_no_work_takes_no_time() -> None:
    assert estimated_hours([], CONFIG, NETWORKS) == 0.0


def test_more_images_and_training_take_longer_and_workers_share_it() -> None:
    few, many = (estimated_hours([plan(images, fit=False)], CONFIG, NETWORKS) for images in (200, 4000))
    assert 0 < few < many
    assert estimated_hours([plan(200, fit=True)], CONFIG, NETWORKS) > few
    shared = estimated_hours([plan(4000, fit=False)], replace(CONFIG, workers=8), NETWORKS)
    assert shared < many
