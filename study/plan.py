"""What is tried: every question's recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from study.adapters import Adapter
from study.features import LITE, View
from study.trial import Recipe

PLAIN = Recipe(views=tuple(View(backbone) for backbone in LITE))  # PatchCore's ensemble, which all is compared with


def _one(coreset: float = 0.01, reweight: int = 9, **view: object) -> Recipe:
    return Recipe((View(**view),), coreset=coreset, reweight=reweight)  # type: ignore[arg-type]


# Question a: the identity adapter, one network.
RECIPES: Mapping[str, Recipe] = {
    "crop 224, 1 %": _one(),
    "crop 224, 3 %": _one(0.03),
    "crop 224, 5 %": _one(0.05),
    "crop 224, 10 %": _one(0.10),
    "whole 224, 1 %": _one(frame="whole"),
    "whole 224, 5 %": _one(0.05, frame="whole"),
    "padded 224, 1 %": _one(frame="padded"),
    "whole 320, 1 %": _one(frame="whole", size=320),
    "whole 320, 5 %": _one(0.05, frame="whole", size=320),
    "crop 320, 1 %": _one(size=320),
    "whole 224, s = 1": _one(frame="whole", patch_size=1),
    "whole 224, s = 5": _one(frame="whole", patch_size=5),
    "whole 224, levels 1-3": _one(frame="whole", levels=(1, 2, 3)),
    "whole 224, levels 2-4": _one(frame="whole", levels=(2, 3, 4)),
    "whole 224, level 2": _one(frame="whole", levels=(2,)),
    "whole 224, level 3": _one(frame="whole", levels=(3,)),
    "whole 224, patchcore": _one(frame="whole", aggregation="patchcore"),
    "whole 224, b = 1": _one(reweight=1, frame="whole"),
    "whole 224, b = 3": _one(reweight=3, frame="whole"),
}

# Question b: adapters on equal features and banks, from at most 100 images a category, so that a larger bank is quick.
_ON = Recipe((View(frame="whole"),), coreset=0.05, fit_images=100)
_TRAINED = Adapter(steps=1000)
ADAPTERS: Mapping[str, Recipe] = {
    name: replace(_ON, adapter=adapter)
    for name, adapter in {
        "identity": Adapter(),
        "standard": Adapter("standard"),
        "white": Adapter("white"),
        "neighbours": Adapter("neighbours"),
        "random orthogonal, D = 152": Adapter(dim=152),
        "raw, trained": _TRAINED,
        "standard, trained": replace(_TRAINED, start="standard"),
        "white, trained": replace(_TRAINED, start="white"),
        "neighbours, trained": replace(_TRAINED, start="neighbours"),
        "raw, trained on neighbours": replace(_TRAINED, draw="neighbours"),
        "standard, trained on neighbours": replace(_TRAINED, start="standard", draw="neighbours"),
        "neighbours, trained on neighbours": replace(_TRAINED, start="neighbours", draw="neighbours"),
    }.items()
}
