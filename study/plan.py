"""Recipes of each part of the study, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconpatch.adapter.initialization import INITIALIZATIONS
from reconpatch.adapter.schedule import AdapterConfig
from study.adapters import AdapterRecipe
from study.features import LITE, FeatureSpec
from study.recipe import Recipe

PLAIN = Recipe(members=tuple(FeatureSpec(backbone) for backbone in LITE))  # the baseline: PatchCore's ensemble

_CROP, _WHOLE = FeatureSpec(), FeatureSpec(frame="whole")
_SCREENED = 200  # maximum number of good images of a category, so that large banks and sizes take minutes


def _one(
    coreset: float = 0.05, *, score_neighbors: int = 9, fit_images: int | None = _SCREENED, spec: FeatureSpec = _CROP
) -> Recipe:
    """Return a recipe of one backbone with the identity adapter."""
    return Recipe((spec,), coreset=coreset, score_neighbors=score_neighbors, fit_images=fit_images)


# The recipe without adapter: all have the identity adapter, and one backbone unless the name states three.
RECIPES: Mapping[str, Recipe] = {
    "crop 224, 1 %": _one(0.01),
    "crop 224, 3 %": _one(0.03),
    "crop 224, 5 %": _one(),
    "crop 224, 10 %": _one(0.10),
    "crop 224, 25 %": _one(0.25),
    "whole 224, 1 %": _one(0.01, spec=_WHOLE),
    "whole 224, 5 %": _one(spec=_WHOLE),
    "whole 224, 10 %": _one(0.10, spec=_WHOLE),
    "padded 224, 5 %": _one(spec=replace(_CROP, frame="padded")),
    "whole 224, 5 %, s = 1": _one(spec=replace(_WHOLE, patch_size=1)),
    "whole 224, 5 %, s = 5": _one(spec=replace(_WHOLE, patch_size=5)),
    "whole 224, 1.25 %, layers 1-3": _one(
        0.0125, spec=replace(_WHOLE, layers=(1, 2, 3))
    ),  # four times as many patches, so the memory bank has as many entries as with 5 % of layers 2 and 3
    "whole 224, 5 %, layers 2-4": _one(spec=replace(_WHOLE, layers=(2, 3, 4))),
    "whole 224, 5 %, layer 2": _one(spec=replace(_WHOLE, layers=(2,))),
    "whole 224, 5 %, layer 3": _one(spec=replace(_WHOLE, layers=(3,))),
    "whole 224, 5 %, patchcore aggregation": _one(spec=replace(_WHOLE, aggregation="patchcore")),
    "whole 224, 5 %, b = 1": _one(score_neighbors=1, spec=_WHOLE),
    "whole 224, 5 %, b = 3": _one(score_neighbors=3, spec=_WHOLE),
    "crop 320, 5 %": _one(spec=replace(_CROP, size=320)),
    "whole 320, 1 %": _one(0.01, spec=replace(_WHOLE, size=320)),
    "whole 320, 2 %": _one(0.02, spec=replace(_WHOLE, size=320)),
    "whole 320, 5 %": _one(spec=replace(_WHOLE, size=320)),
    "whole 224, 5 %, lite1": _one(spec=replace(_WHOLE, backbone=LITE[1])),
    "whole 224, 5 %, lite2": _one(spec=replace(_WHOLE, backbone=LITE[2])),
    "whole 224, 5 %, three backbones, patch scores fused": Recipe(
        tuple(FeatureSpec(backbone, frame="whole") for backbone in LITE), coreset=0.05, fit_images=_SCREENED
    ),
    "whole 224, 5 %, three backbones, image scores fused": Recipe(
        tuple(FeatureSpec(backbone, frame="whole") for backbone in LITE),
        coreset=0.05,
        fit_images=_SCREENED,
        fusion="image",
    ),
    "whole 480, 1 %": _one(0.01, spec=replace(_WHOLE, size=480)),
    "crop 224, 1 %, all good images": _one(0.01, fit_images=None),
    "whole 224, 1 %, all good images": _one(0.01, fit_images=None, spec=_WHOLE),
    "whole 320, 1 %, all good images": _one(0.01, fit_images=None, spec=replace(_WHOLE, size=320)),
    "whole 320, 2 %, all good images": _one(0.02, fit_images=None, spec=replace(_WHOLE, size=320)),
}

# The adapters, with the same features and memory banks of the same size.
_ON = Recipe((_WHOLE,), coreset=0.05, fit_images=_SCREENED)
_STANDARD = AdapterConfig(init="standard", dim=256, epochs=0)
# One epoch at a learning rate that can change f as much as a hundred epochs at the paper's 1e-5.
_EPOCH = replace(_STANDARD, epochs=1, max_steps=0, lr=1e-3, gamma=0.99)
_FOUR = replace(_EPOCH, batch_images=4)
ADAPTERS: Mapping[str, Recipe] = {
    name: replace(_ON, adapter=adapter)
    for name, adapter in {
        "identity": AdapterRecipe(),
        "random, D = 256": AdapterRecipe(replace(_STANDARD, init="raw"), turned=True),
        **{init: AdapterRecipe(replace(_STANDARD, init=init)) for init in INITIALIZATIONS[1:]},
        **{f"{init}, trained": AdapterRecipe(replace(_EPOCH, init=init)) for init in INITIALIZATIONS},
        "standard, trained, ω shuffled": AdapterRecipe(_EPOCH, shuffled=True),
        "standard, trained, neighbors in a batch": AdapterRecipe(_EPOCH, neighbors=True),
        **{
            f"{init}, trained, four images in a batch": AdapterRecipe(replace(_FOUR, init=init))
            for init in INITIALIZATIONS
        },
        "standard, four images in a batch, ω shuffled": AdapterRecipe(_FOUR, shuffled=True),
        **{
            f"standard, four images in a batch, {name}": AdapterRecipe(replace(_FOUR, **changed))  # type: ignore[arg-type]
            for name, changed in {
                "rate 1e-4": {"lr": 1e-4},
                "rate 1e-2": {"lr": 1e-2},
                "σ = 1": {"sigma": 1.0},
                "z̄ normalized": {"normalize": True},
                "k = 10": {"contrastive_neighbors": 10},
                "α = 0": {"alpha": 0.0},
                "α = 1": {"alpha": 1.0},
                "m = 0.5": {"margin": 0.5},
                "m = 2": {"margin": 2.0},
                "γ = 0.9": {"gamma": 0.9},
                "γ = 0.999": {"gamma": 0.999},
                "N = 2048": {"batch_size": 2048},
                "D = 512": {"dim": 512},
                "D = 64": {"dim": 64},
            }.items()
        },
    }.items()
}

# All steps of `--recipe paper`, and 3,000 steps at a learning rate that compensates for the smaller number.
_PAPER = replace(_STANDARD, init="raw", epochs=60, max_steps=0, lr=1e-4, gamma=0.999)
STEPS: Mapping[str, Recipe] = {
    "identity": _ON,
    "60 epochs, all steps": replace(_ON, adapter=AdapterRecipe(_PAPER)),
    "60 epochs in 3,000 steps": replace(_ON, adapter=AdapterRecipe(replace(_PAPER, max_steps=3000))),
}

# Hold-out, with all good images so that low false-positive rates can be guaranteed.
_ALL = replace(_ON, coreset=0.01, fit_images=None)
HOLDOUTS: Mapping[str, Recipe] = {
    "no hold-out": replace(_ALL, left_out=True),
    "10 %": replace(_ALL, fold=(0, 10)),
    **{f"20 %, fold {fold}": replace(_ALL, fold=(fold, 5)) for fold in range(5)},
}

# Defects among the training images, with and without removal of isolated bank entries.
DIRTY: Mapping[str, Recipe] = {
    f"{100 * dirt:.0f} % defects, {100 * trim:.0f} % trimmed": replace(_ON, dirt=dirt, trim=trim)
    for dirt in (0.0, 0.01, 0.05, 0.10)
    for trim in (0.0, 0.05, 0.20)
}

# A choice without labels: pasted defects and held-out images select a recipe, and real defects check the choice.
CHOICES: Mapping[str, Recipe] = {
    name: replace(RECIPES[name], fold=(0, 5), pasted=True)
    for name in ("crop 224, 5 %", "whole 224, 5 %", "whole 224, 5 %, s = 1", "whole 320, 1 %")
}

# The small ensemble with `--recipe default --image-size 320`, and the recipes that it is compared with.
DEFAULT = Recipe(
    tuple(FeatureSpec(backbone, 320, "whole") for backbone in LITE),
    AdapterRecipe(replace(_FOUR, init="raw", gamma=0.999, max_steps=3000)),
    coreset=0.02,
)
FINALS: Mapping[str, Recipe] = {
    "PatchCore ensemble, crop 224, 1 %": PLAIN,
    "default ensemble": DEFAULT,
    "default ensemble, identity": replace(DEFAULT, adapter=AdapterRecipe()),
    **{f"default, {spec.backbone}": replace(DEFAULT, members=(spec,)) for spec in DEFAULT.members},
}


@dataclass(frozen=True)
class Part:
    """The recipes that answer one question.

    Attributes:
        recipes: Recipes by name.
        half: Half of the test images that is scored, 'A' or 'B'.
        seeds: Seeds of the trials.
        categories: Names of the categories to which a part with long trials is limited; empty for all.
    """

    recipes: Mapping[str, Recipe]
    half: str = "A"
    seeds: tuple[int, ...] = (0,)
    categories: tuple[str, ...] = ()


PARTS: Mapping[str, Part] = {
    "recipe": Part(RECIPES),
    "adapter": Part(ADAPTERS),
    "steps": Part(STEPS, categories=("magnetic_tile",)),
    "holdout": Part(HOLDOUTS),
    "dirty": Part(DIRTY),
    "choice": Part(CHOICES, "B"),
    "final": Part(FINALS, "B", (0, 1, 2)),
}
