"""What is tried: every question's recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.adapters import Adapter
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
}

# Question b: adapters on equal features and banks.
_ON = Recipe((View(frame="whole"),), coreset=0.05, fit_images=_SCREENED)
_TRAINED = Adapter("standard", steps=500, batch_size=512)
_FOUR = replace(_TRAINED, draw="images")
ADAPTERS: Mapping[str, Recipe] = {
    name: replace(_ON, adapter=adapter)
    for name, adapter in {
        "identity": Adapter(),
        "standard": Adapter("standard"),
        "white": Adapter("white"),
        "neighbours": Adapter("neighbours"),
        "random orthogonal, D = 152": Adapter(dim=152),
        "raw, trained": replace(_TRAINED, start="raw"),
        "standard, trained": _TRAINED,
        "white, trained": replace(_TRAINED, start="white"),
        "neighbours, trained": replace(_TRAINED, start="neighbours"),
        "standard, trained, ω shuffled": replace(_TRAINED, shuffled=True),
        "standard, trained on neighbours": replace(_TRAINED, draw="neighbours"),
        "standard, trained on four images": _FOUR,
        "raw, trained on four images": replace(_FOUR, start="raw"),
        "on four images, ω shuffled": replace(_FOUR, shuffled=True),
        "on four images, rate 1e-4": replace(_FOUR, lr=1e-4),
        "on four images, rate 1e-2": replace(_FOUR, lr=1e-2),
        "on four images, σ = 1": replace(_FOUR, sigma=1.0),
        "on four images, z̄ normalised": replace(_FOUR, normalize=True),
        "on four images, k = 10": replace(_FOUR, neighbours=10),
        "on four images, α = 0": replace(_FOUR, alpha=0.0),
        "on four images, α = 1": replace(_FOUR, alpha=1.0),
        "on four images, m = 0.5": replace(_FOUR, margin=0.5),
        "on four images, m = 2": replace(_FOUR, margin=2.0),
        "on four images, γ = 0.9": replace(_FOUR, gamma=0.9),
        "on four images, γ = 0.999": replace(_FOUR, gamma=0.999),
        "on four images, N = 2048": replace(_FOUR, batch_size=2048),
        "on four images, D = 512": replace(_FOUR, dim=512),
        "on four images, D = 64": replace(_FOUR, dim=64),
    }.items()
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

# What `--recipe default` does with the small ensemble, and what it is compared with.
DEFAULT = Recipe(tuple(View(backbone, 320, "whole") for backbone in LITE), Adapter("standard"), coreset=0.01)
FINALS: Mapping[str, Recipe] = {
    "PatchCore ensemble, crop 224, 1 %": PLAIN,
    "default ensemble": DEFAULT,
    "default ensemble, identity": replace(DEFAULT, adapter=Adapter()),
    **{f"default, {view.backbone}": replace(DEFAULT, views=(view,)) for view in DEFAULT.views},
}


@dataclass(frozen=True)
class Part:
    """Recipes that answer one question, the half they are tried on, and the seeds."""

    recipes: Mapping[str, Recipe]
    half: str = "A"
    seeds: tuple[int, ...] = (0,)


PARTS: Mapping[str, Part] = {
    "recipe": Part(RECIPES),
    "adapter": Part(ADAPTERS),
    "holdout": Part(HOLDOUTS),
    "dirty": Part(DIRTY),
    "choice": Part(CHOICES, "B"),
    "final": Part(FINALS, "B", (0, 1, 2)),
}
