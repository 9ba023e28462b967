"""A trial: what it says, that it is run once, and what its options change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from reconpatch.schedule import AdapterConfig
from study.adapters import AdapterRecipe
from study.data import Category, _of_folder
from study.features import View, features
from study.trial import Place, Recipe, _member, _name, run_trial
from tests.pipelines.runs import make_category

SMALL = Recipe(views=(View(size=64),), coreset=0.1)


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Category:
    root = tmp_path_factory.mktemp("study")
    make_category(root / "cloth", seed=0, train=10, good=8, defects=8)
    return _of_folder(root)[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("kept"))


def test_a_trial_scores_the_half_alone_and_is_run_once(category: Category, place: Place) -> None:
    rows = {half: run_trial(category, SMALL, 0, half, place) for half in "AB"}
    assert not set(rows["A"]["paths"]) & set(rows["B"]["paths"])
    assert len(rows["A"]["paths"]) + len(rows["B"]["paths"]) == len(category.test)
    assert len(rows["A"]["scores"]) == len(rows["A"]["labels"]) == len(rows["A"]["paths"])
    assert rows["A"]["image_auroc"] > 0.5
    stamps = {path: path.stat().st_mtime_ns for path in place.root.rglob("*") if path.is_file()}
    assert run_trial(category, SMALL, 0, "A", place) == rows["A"]
    assert {path: path.stat().st_mtime_ns for path in place.root.rglob("*") if path.is_file()} == stamps


def test_an_image_left_out_is_compared_with_the_others_alone(category: Category, place: Place) -> None:
    everything = replace(SMALL, coreset=1.0, left_out=True, reweight=1)
    found = _member(category, everything, everything.views[0], 0, "A", place).holdout
    values = features(category, everything.views[0], category.train, place.features).values.astype(np.float64)
    for number, image in enumerate(values):
        others = np.delete(values, number, axis=0).reshape(-1, image.shape[1])
        np.testing.assert_allclose(found[number].ravel(), cdist(image, others).min(1), rtol=1e-4)


def test_what_is_held_out_or_dirty_changes_what_is_learned_from(category: Category, place: Place) -> None:
    rows = {
        name: run_trial(category, recipe, 0, "A", place)
        for name, recipe in {
            "clean": SMALL,
            "held out": replace(SMALL, fold=(0, 5), pasted=True),
            "dirty": replace(SMALL, dirt=0.2),
            "trimmed": replace(SMALL, dirt=0.2, trim=0.5),
        }.items()
    }
    entries = {name: row["costs"]["bank_entries"] for name, row in rows.items()}
    assert entries["held out"] < entries["clean"] < entries["dirty"]
    assert entries["trimmed"] == pytest.approx(entries["dirty"] / 2, abs=1)
    assert len(rows["held out"]["holdout_scores"]) == len(rows["held out"]["pasted_scores"]) == 2


def test_a_name_says_what_differs_from_the_defaults(category: Category) -> None:
    others = [
        SMALL,
        replace(SMALL, trim=0.1),
        replace(SMALL, adapter=AdapterRecipe(AdapterConfig(epochs=1))),
        replace(SMALL, views=(View(size=64, frame="whole"),)),
        replace(SMALL, views=SMALL.views * 2),
    ]
    names = [_name(category, each, seed, half) for each in others for seed in (0, 1) for half in "AB"]
    assert len(set(names)) == len(names)
    assert _name(category, replace(SMALL, trim=0.0), 0, "A") == names[0]
