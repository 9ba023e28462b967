"""What is tried: every question's recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconpatch.schedule import AdapterConfig
from reconpatch.starts import STARTS
from study.adapters import AdapterRecipe
from study.features import LITE, View
from study.trial import Recipe

PLAIN = Recipe(views=tuple(View(backbone) for backbone in LITE))  # PatchCore's ensemble, which all is compared with


_SCREENED = 200  # good images a category at most, so that large banks and sizes are tried in minutes


def _one(coreset: float = 0.05, reweight: int = 9, fit_images: int | None = _SCREENED, **view: object) -> Recipe:
    return Recipe((View(**view),), coreset=coreset, reweight=reweight, fit_images=fit_images)  # type: ignore[arg-type]


# Question a: the identity adapter, one network where nothing else is said.
RECIPES: Mapping[str, Recipe] = {
    "crop 224, 1 %": _one(0.01),
    "crop 224, 3 %": _one(0.03),
    "crop 224, 5 %": _one(),
    "crop 224, 10 %": _one(0.10),
    "crop 224, 25 %": _one(0.25),
    "whole 224, 1 %": _one(0.01, frame="whole"),
    "whole 224, 5 %": _one(frame="whole"),
    "whole 224, 10 %": _one(0.10, frame="whole"),
    "padded 224, 5 %": _one(frame="padded"),
    "whole 224, 5 %, s = 1": _one(frame="whole", patch_size=1),
    "whole 224, 5 %, s = 5": _one(frame="whole", patch_size=5),
    "whole 224, 1.25 %, levels 1-3": _one(
        0.0125, frame="whole", levels=(1, 2, 3)
    ),  # as many entries: four times the patches
    "whole 224, 5 %, levels 2-4": _one(frame="whole", levels=(2, 3, 4)),
    "whole 224, 5 %, level 2": _one(frame="whole", levels=(2,)),
    "whole 224, 5 %, level 3": _one(frame="whole", levels=(3,)),
    "whole 224, 5 %, patchcore": _one(frame="whole", aggregation="patchcore"),
    "whole 224, 5 %, b = 1": _one(reweight=1, frame="whole"),
    "whole 224, 5 %, b = 3": _one(reweight=3, frame="whole"),
    "crop 320, 5 %": _one(size=320),
    "whole 320, 1 %": _one(0.01, frame="whole", size=320),
    "whole 320, 2 %": _one(0.02, frame="whole", size=320),
    "whole 320, 5 %": _one(frame="whole", size=320),
    "whole 224, 5 %, lite1": _one(frame="whole", backbone=LITE[1]),
    "whole 224, 5 %, lite2": _one(frame="whole", backbone=LITE[2]),
    "whole 224, 5 %, fused": Recipe(
        tuple(View(each, frame="whole") for each in LITE), coreset=0.05, fit_images=_SCREENED
    ),
    "whole 224, 5 %, images fused": Recipe(
        tuple(View(each, frame="whole") for each in LITE), coreset=0.05, fit_images=_SCREENED, fusion="image"
    ),
    "whole 480, 1 %": _one(0.01, frame="whole", size=480),
    "crop 224, 1 %, all good images": _one(0.01, fit_images=None),
    "whole 224, 1 %, all good images": _one(0.01, fit_images=None, frame="whole"),
    "whole 320, 1 %, all good images": _one(0.01, fit_images=None, frame="whole", size=320),
    "whole 320, 2 %, all good images": _one(0.02, fit_images=None, frame="whole", size=320),
}

# Question b: adapters on equal features and banks.
_ON = Recipe((View(frame="whole"),), coreset=0.05, fit_images=_SCREENED)
_STANDARD = AdapterConfig(start="standard", dim=256, epochs=0)
# One epoch at a rate that moves f: as far as a hundred epochs at the paper's 1e-5 could.
_EPOCH = replace(_STANDARD, epochs=1, max_steps=0, lr=1e-3, gamma=0.99)
_FOUR = replace(_EPOCH, batch_images=4)
ADAPTERS: Mapping[str, Recipe] = {
    name: replace(_ON, adapter=adapter)
    for name, adapter in {
        "identity": AdapterRecipe(),
        "random, D = 256": AdapterRecipe(replace(_STANDARD, start="raw"), turned=True),
        **{start: AdapterRecipe(replace(_STANDARD, start=start)) for start in STARTS[1:]},
        **{f"{start}, trained": AdapterRecipe(replace(_EPOCH, start=start)) for start in STARTS},
        "standard, trained, ω shuffled": AdapterRecipe(_EPOCH, shuffled=True),
        "standard, trained on neighbours": AdapterRecipe(_EPOCH, neighbours=True),
        **{f"{start}, trained on four images": AdapterRecipe(replace(_FOUR, start=start)) for start in STARTS},
        "standard, four images, ω shuffled": AdapterRecipe(_FOUR, shuffled=True),
        **{
            f"standard, four images, {name}": AdapterRecipe(replace(_FOUR, **changed))  # type: ignore[arg-type]
            for name, changed in {
                "rate 1e-4": {"lr": 1e-4},
                "rate 1e-2": {"lr": 1e-2},
                "σ = 1": {"sigma": 1.0},
                "z̄ normalised": {"normalize": True},
                "k = 10": {"neighbours": 10},
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

# The count of steps that --recipe paper takes, and the same in 3,000 steps at a rate that makes up for it.
_PAPER = replace(_STANDARD, start="raw", epochs=60, max_steps=0, lr=1e-4, gamma=0.999)
STEPS: Mapping[str, Recipe] = {
    "identity": _ON,
    "60 epochs, all steps": replace(_ON, adapter=AdapterRecipe(_PAPER)),
    "60 epochs in 3,000 steps": replace(_ON, adapter=AdapterRecipe(replace(_PAPER, max_steps=3000))),
}

# Hold-out: all good images, so that small rates can be promised.
_ALL = replace(_ON, coreset=0.01, fit_images=None)
HOLDOUTS: Mapping[str, Recipe] = {
    "none": replace(_ALL, left_out=True),
    "10 %": replace(_ALL, fold=(0, 10)),
    **{f"20 %, fold {fold}": replace(_ALL, fold=(fold, 5)) for fold in range(5)},
}

DIRTY: Mapping[str, Recipe] = {
    f"{dirt:.0%} dirt, {trim:.0%} trimmed": replace(_ON, dirt=dirt, trim=trim)
    for dirt in (0.0, 0.01, 0.05, 0.10)
    for trim in (0.0, 0.05, 0.20)
}

# A choice without labels: the recipe that tells pasted defects from held-out images best, beside what real ones say.
CHOICES: Mapping[str, Recipe] = {
    name: replace(RECIPES[name], fold=(0, 5), pasted=True)
    for name in ("crop 224, 5 %", "whole 224, 5 %", "whole 224, 5 %, s = 1", "whole 320, 1 %")
}

# What `--recipe default --image-size 320` does with the small ensemble, and what it is compared with.
DEFAULT = Recipe(
    tuple(View(backbone, 320, "whole") for backbone in LITE),
    AdapterRecipe(replace(_FOUR, start="raw", gamma=0.999, max_steps=3000)),
    coreset=0.02,
)
FINALS: Mapping[str, Recipe] = {
    "PatchCore ensemble, crop 224, 1 %": PLAIN,
    "default ensemble": DEFAULT,
    "default ensemble, identity": replace(DEFAULT, adapter=AdapterRecipe()),
    **{f"default, {view.backbone}": replace(DEFAULT, views=(view,)) for view in DEFAULT.views},
}


@dataclass(frozen=True)
class Part:
    """Recipes that answer one question, the half they are tried on, and the seeds.

    Attributes:
        categories: no others, where a trial takes long; all by default.
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
