"""The recipe of a trial."""

from __future__ import annotations

from dataclasses import dataclass, field

from study.adapters import AdapterRecipe
from study.features import FeatureSpec


@dataclass(frozen=True)
class Recipe:
    """All settings of a trial except category, half and seed.

    Attributes:
        members: Feature settings of the members; several members are fused by equation 11.
        adapter: Settings of f.
        coreset: Share of the patches of the training images in the memory bank, 0 to 1.
        score_neighbors: b of equation 10.
        fusion: Scores that equation 11 normalizes, 'patch' or 'image'.
        fit_images: Maximum number of good training images; None uses all.
        fold: (f, K) holds out and scores every K-th good image, starting with number f; None holds out none.
        pasted: Whether copies of the held-out images with pasted defects are scored, too.
        dirt: Number of defective images of the other half of the test set that are added to the training images, as a
            share of the good ones.
        trim: Share of the bank entries that is removed, 0 to 1; those farthest from all other images first.
        left_out: Whether the training images are scored instead of held-out ones, each without its own entries in the
            memory bank.
    """

    members: tuple[FeatureSpec, ...] = (FeatureSpec(),)
    adapter: AdapterRecipe = field(default_factory=AdapterRecipe)
    coreset: float = 0.01
    score_neighbors: int = 9
    fusion: str = "patch"
    fit_images: int | None = None
    fold: tuple[int, int] | None = None
    pasted: bool = False
    dirt: float = 0.0
    trim: float = 0.0
    left_out: bool = False
