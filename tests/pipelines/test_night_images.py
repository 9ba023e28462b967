"""Nights of images that lie elsewhere, of models and pictures that are lost on the way, and of versions that go."""

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

from pipelines import lease, morning
from pipelines.lease import leased
from pipelines.storage import Store
from tests.pipelines.nights import Factory, Morning
from tests.pipelines.runs import BACKBONES, make_category, rows_of, save, texture


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """Two categories without a test folder, and today's images in a folder of their own."""
    made = Factory(tmp_path_factory.mktemp("station"))
    make_category(made.data / "bolt", seed=0, train=12, good=0, defects=0)
    make_category(made.data / "cloth", seed=2000, train=12, good=0, defects=0)
    for number in range(3):
        save(made.data.parent / "today" / "bolt" / "line 2" / f"{number}.png", texture(100 + number))
        save(made.data.parent / "today" / "stranger" / f"{number}.png", texture(200 + number))
        save(made.data / "cloth" / "incoming" / f"{number}.png", texture(2100 + number))
    return made


@pytest.fixture(scope="module")
def elsewhere(factory: Factory) -> Morning:
    return factory.night("--images", str(factory.data.parent / "today"), "--maps")


@pytest.fixture(scope="module")
def incoming(factory: Factory, elsewhere: Morning) -> Morning:
    return factory.night()


def test_images_of_a_folder_of_their_own_are_judged_and_its_strangers_named(elsewhere: Morning) -> None:
    assert elsewhere.done.code == 0, elsewhere.done.stderr
    assert set(elsewhere.rows("bolt")) == {f"bolt/line 2/{number}.png" for number in range(3)}
    assert (elsewhere.told["bolt"]["judged"], elsewhere.told["cloth"]["judged"]) == ("done", "no images")
    assert set(elsewhere.told) == {"bolt", "cloth"}
    assert "1 folders are of no category that is known: stranger" in elsewhere.done.stderr


def test_their_maps_are_written(elsewhere: Morning) -> None:
    maps = rows_of(elsewhere.scores / "maps" / "bolt" / "part-00000-00000.parquet")
    assert [row["image_path"] for row in maps] == sorted(elsewhere.rows("bolt"))
    assert all(len(row["map"]) == row["height"] * row["width"] for row in maps)


def test_without_a_test_folder_incoming_is_judged(elsewhere: Morning, incoming: Morning) -> None:
    assert incoming.done.code == 0, incoming.done.stderr
    assert incoming.current == elsewhere.current
    assert set(incoming.rows("cloth")) == {f"cloth/incoming/{number}.png" for number in range(3)}
    assert all(row["label"] is None for row in incoming.rows("cloth").values())
    assert incoming.told["bolt"]["judged"] == "no images"


def then(first: Callable[..., Any], second: Callable[[], object]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        found = first(*arguments)
        second()
        return found

    return both


@dataclass(frozen=True)
class Eventful:
    """A night that had to wait, what was in force before it, and when the one that it waited for was over."""

    morning: Morning
    before: dict[str, str]
    over: float


@pytest.fixture(scope="module")
def eventful(factory: Factory, incoming: Morning) -> Eventful:
    """Of cloth's two new images one vanishes after the index; bolt has new good images, a version from long ago, and
    one in force whose bank is damaged."""
    gone = factory.data / "cloth" / "incoming" / "3.png"
    for number in (3, 4):
        save(gone.with_name(f"{number}.png"), texture(2100 + number))
    for number in range(2):
        save(factory.train("bolt") / f"new{number}.png", texture(300 + number))
    champion = factory.registry / "bolt" / incoming.current["bolt"].strip()
    old = shutil.copytree(champion, champion.with_name("0" * 12))
    (old / "ruling.json").write_text(json.dumps({"at": "2020-01-01T00:00:00+00:00", "status": "passed"}))
    bank = champion / BACKBONES[0] / "memory_bank.safetensors"
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
        patch.setattr(morning, "index", then(morning.index, gone.unlink))
        found = factory.night("--keep", "1", "--wait")
    running.join()
    assert found.done.code == 0, found.done.stderr
    return Eventful(found, incoming.current, over[0])


def test_an_image_that_vanishes_after_the_index_is_a_failure_and_the_others_are_judged(eventful: Eventful) -> None:
    found = eventful.morning
    assert found.judged_now("cloth") == {"cloth/incoming/4.png"}
    assert (found.told["cloth"]["images"], found.told["cloth"]["unreadable"]) == (4, 1)
    failures = rows_of(found.scores / "failures.parquet")
    assert [(row["stage"], row["image_path"]) for row in failures] == [("extract", "cloth/incoming/3.png")]


def test_a_champion_with_a_damaged_bank_does_not_stand_in_the_way(eventful: Eventful) -> None:
    found = eventful.morning
    assert found.told["bolt"]["learned"] == "unproven"
    assert "The model in force cannot be asked" in found.told["bolt"]["reasons"]
    assert found.current["bolt"] != eventful.before["bolt"]


def test_kept_are_as_many_versions_as_asked_and_the_one_before(factory: Factory, eventful: Eventful) -> None:
    kept = {path.parent.name for path in (factory.registry / "bolt").glob("*/model.json")}
    assert kept == {found["bolt"].strip() for found in (eventful.before, eventful.morning.current)}


def test_a_night_waits_for_the_one_before_if_asked(eventful: Eventful) -> None:
    told = json.loads((eventful.morning.scores / "run.json").read_text())
    assert datetime.fromisoformat(told["started_at"]).timestamp() >= eventful.over


def test_a_category_that_was_never_learned_has_no_model_to_judge_with(tmp_path: Path) -> None:
    empty = Factory(tmp_path)
    make_category(empty.data / "bolt", seed=0, train=0, good=1, defects=0)
    found = empty.night()
    assert found.done.code == 1
    assert (found.told["bolt"]["learned"], found.told["bolt"]["judged"]) == ("failed", "no model")
