"""Nightly runs with new images in a separate folder, removed images, a damaged model and pruned versions."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.nightly import score
from pipelines.storage import lease
from pipelines.storage.lease import leased
from pipelines.storage.store import Store
from tests.pipelines.nights import Factory, NightOutput
from tests.pipelines.runs import BACKBONES, make_category, rows_of, save, texture


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """Two categories without a test folder, and new images in a separate folder."""
    made = Factory(tmp_path_factory.mktemp("station"))
    make_category(made.data / "bolt", seed=0, train=12, good=0, defects=0)
    make_category(made.data / "cloth", seed=2000, train=12, good=0, defects=0)
    for number in range(3):
        save(made.data.parent / "today" / "bolt" / "line 2" / f"{number}.png", texture(100 + number))
        save(made.data.parent / "today" / "stranger" / f"{number}.png", texture(200 + number))
        save(made.data / "cloth" / "incoming" / f"{number}.png", texture(2100 + number))
    return made


@pytest.fixture(scope="module")
def elsewhere(factory: Factory) -> NightOutput:
    return factory.night("--images", str(factory.data.parent / "today"), "--maps")


@pytest.fixture(scope="module")
def incoming(factory: Factory, elsewhere: NightOutput) -> NightOutput:
    return factory.night()


def test_images_of_a_separate_folder_are_scored_and_unknown_folders_are_reported(elsewhere: NightOutput) -> None:
    assert elsewhere.done.code == 0, elsewhere.done.stderr
    assert set(elsewhere.rows("bolt")) == {f"bolt/line 2/{number}.png" for number in range(3)}
    assert (elsewhere.categories["bolt"]["judged"], elsewhere.categories["cloth"]["judged"]) == ("done", "no images")
    assert set(elsewhere.categories) == {"bolt", "cloth"}
    assert "folders that match no category are not scored (1): stranger" in elsewhere.done.stderr


def test_the_maps_of_new_images_are_written(elsewhere: NightOutput) -> None:
    maps = rows_of(elsewhere.scores / "maps" / "bolt" / "part-00000-00000.parquet")
    assert [row["image_path"] for row in maps] == sorted(elsewhere.rows("bolt"))
    assert all(len(row["map"]) == row["height"] * row["width"] for row in maps)


def test_without_a_test_folder_incoming_is_scored(elsewhere: NightOutput, incoming: NightOutput) -> None:
    assert incoming.done.code == 0, incoming.done.stderr
    assert incoming.current == elsewhere.current
    assert set(incoming.rows("cloth")) == {f"cloth/incoming/{number}.png" for number in range(3)}
    assert all(row["label"] is None for row in incoming.rows("cloth").values())
    assert incoming.categories["bolt"]["judged"] == "no images"


def then(first: Callable[..., Any], second: Callable[[], object]) -> Callable[..., Any]:
    """Return a function that calls `first`, then `second`, and returns the result of `first`."""

    def both(*arguments: Any, **options: Any) -> Any:
        result = first(*arguments, **options)
        second()
        return result

    return both


@dataclass(frozen=True)
class Eventful:
    """Nightly run that waited for another process.

    Attributes:
        night: Output of the run.
        before: category -> active version before the run.
        over: Time at which the other process released the registry, in seconds since the epoch.
    """

    night: NightOutput
    before: dict[str, str]
    over: float


@pytest.fixture(scope="module")
def eventful(factory: Factory, incoming: NightOutput) -> Eventful:
    """Run in which an image is removed, a memory bank is damaged, and an old version is pruned.

    One of two new images of cloth is removed after the index is written. bolt has new good images, an old version, and
    an active version whose memory bank is damaged.
    """
    gone = factory.data / "cloth" / "incoming" / "3.png"
    for number in (3, 4):
        save(gone.with_name(f"{number}.png"), texture(2100 + number))
    for number in range(2):
        save(factory.train("bolt") / f"new{number}.png", texture(300 + number))
    active = factory.registry / "bolt" / incoming.current["bolt"].strip()
    old = shutil.copytree(active, active.with_name("0" * 12))
    (old / "ruling.json").write_text(json.dumps({"at": "2020-01-01T00:00:00+00:00", "status": "passed"}))
    bank = active / BACKBONES[0] / "memory_bank.safetensors"
    bank.write_bytes(bank.read_bytes()[:100])
    over: list[float] = []

    def other() -> None:
        with leased(Store.of(str(factory.registry))):
            holds.set()
            time.sleep(1.0)
            over.append(time.time())

    holds = threading.Event()
    running = threading.Thread(target=other)
    running.start()
    holds.wait(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "WAIT_SECONDS", 0.1)
        patch.setattr(score, "complete_images", then(score.complete_images, gone.unlink))
        night = factory.night("--keep", "1", "--wait")
    running.join()
    assert night.done.code == 0, night.done.stderr
    return Eventful(night, incoming.current, over[0])


def test_an_image_that_is_removed_after_indexing_is_a_failure_and_the_others_are_scored(eventful: Eventful) -> None:
    night = eventful.night
    assert night.scored_now("cloth") == {"cloth/incoming/4.png"}
    assert (night.categories["cloth"]["images"], night.categories["cloth"]["unreadable"]) == (4, 1)
    failures = rows_of(night.scores / "failures.parquet")
    assert [(row["stage"], row["image_path"]) for row in failures] == [("extract", "cloth/incoming/3.png")]


def test_an_active_model_with_a_damaged_bank_does_not_prevent_a_promotion(eventful: Eventful) -> None:
    night = eventful.night
    assert night.categories["bolt"]["learned"] == "inconclusive"
    assert "The active model could not be compared" in night.categories["bolt"]["reasons"]
    assert night.current["bolt"] != eventful.before["bolt"]


def test_pruning_keeps_the_requested_number_of_versions_and_the_one_before(
    factory: Factory, eventful: Eventful
) -> None:
    kept = {path.parent.name for path in (factory.registry / "bolt").glob("*/model.json")}
    assert kept == {current["bolt"].strip() for current in (eventful.before, eventful.night.current)}


def test_with_wait_a_run_waits_for_another(eventful: Eventful) -> None:
    run_info = json.loads((eventful.night.scores / "run.json").read_text())
    assert datetime.fromisoformat(run_info["started_at"]).timestamp() >= eventful.over


def test_a_category_without_training_images_has_no_model(tmp_path: Path) -> None:
    empty = Factory(tmp_path)
    make_category(empty.data / "bolt", seed=0, train=0, good=1, defects=0)
    make_category(empty.data / "cloth", seed=1, train=2, good=0, defects=0)
    night = empty.night()
    assert night.done.code == 1
    assert (night.categories["bolt"]["learned"], night.categories["bolt"]["judged"]) == ("failed", "no model")
