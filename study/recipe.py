"""What a trial tries."""

from __future__ import annotations

from dataclasses import dataclass, field

from study.adapters import AdapterRecipe
from study.features import FeatureSpec


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Attributes:
        members: how the members' features are made; several members are fused by equation 11.
        adapter: how f is made.
        coreset: share of the fit patches in the memory bank.
        score_neighbors: b of equation 10.
        fusion: scores that equation 11 normalizes, 'patch' or 'image'.
        fit_images: largest number of good training images; None for all.
        fold: (f, K): every K-th good image, from the f-th, is held out and scored; None for none.
        pasted: whether copies of the held-out images with pasted defects are scored as well.
        dirt: number of defective images of the other half of the test set that are added to the training images, as a
            share of the good ones.
        trim: share of the memory bank's entries that is dropped, those farthest from all other images first.
        left_out: whether the training images are scored in place of held-out ones, each without its own entries in the
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
