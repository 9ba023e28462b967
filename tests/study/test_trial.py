"""Tests of trials: scored images, stored results, and the effect of the options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconpatch.adapter.schedule import AdapterConfig
from study.adapters import AdapterRecipe
from study.data import Category
from study.features import FeatureSpec
from study.recipe import Recipe
from study.trial import StudyFolder, Trial, run_trial

SMALL = Recipe(members=(FeatureSpec(size=64),), coreset=0.1)


def test_a_trial_scores_its_half_and_runs_only_once(category: Category, folder: StudyFolder) -> None:
    results = {half: run_trial(Trial(category, SMALL, 0, half), folder) for half in "AB"}
    first = results["A"]
    assert not set(first.paths) & set(results["B"].paths)
    assert len(first.paths) + len(results["B"].paths) == len(category.test)
    assert len(first.scores) == len(first.labels) == len(first.paths)
    assert first.image_auroc > 0.5
    times = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*") if path.is_file()}
    assert run_trial(Trial(category, SMALL, 0, "A"), folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*") if path.is_file()} == times


def test_held_out_images_and_added_defects_change_the_training_images(category: Category, folder: StudyFolder) -> None:
    results = {
        name: run_trial(Trial(category, recipe, 0, "A"), folder)
        for name, recipe in {
            "clean": SMALL,
            "held out": replace(SMALL, fold=(0, 5), pasted=True),
            "dirty": replace(SMALL, dirt=0.2),
            "trimmed": replace(SMALL, dirt=0.2, trim=0.5),
        }.items()
    }
    entries = {name: result.costs.bank_entries for name, result in results.items()}
    assert entries["held out"] < entries["clean"] < entries["dirty"]
    assert entries["trimmed"] == pytest.approx(entries["dirty"] / 2, abs=1)
    assert len(results["held out"].holdout_scores) == len(results["held out"].pasted_scores) == 2


def test_the_name_depends_on_fields_that_differ_from_their_defaults(category: Category) -> None:
    recipes = [
        SMALL,
        replace(SMALL, trim=0.1),
        replace(SMALL, adapter=AdapterRecipe(AdapterConfig(epochs=1))),
        replace(SMALL, members=(FeatureSpec(size=64, frame="whole"),)),
        replace(SMALL, members=SMALL.members * 2),
    ]
    names = [Trial(category, recipe, seed, half).name for recipe in recipes for seed in (0, 1) for half in "AB"]
    assert len(set(names)) == len(names)
    assert Trial(category, replace(SMALL, trim=0.0), 0, "A").name == names[0]
