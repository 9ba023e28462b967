"""A model with two members and random patch scores for it, for the detector tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reconpatch.detector.model import CODE_VERSION, MemberModel, Model


def model(**changes: object) -> Model:
    """Return a model without statistics, with the given fields changed."""
    members = tuple(
        MemberModel(f"net{number}", (2, 3), 3, "concat", 256, "package x", "ab" * 32, "cd" * 32) for number in range(2)
    )
    default = Model("nut=1", "v1", members, 224, False, 16, 16, "patch", 9, 0.1, CODE_VERSION)
    return replace(default, **changes)  # type: ignore[arg-type]


def maps(seed: int, images: int, grids: tuple[tuple[int, int], ...] = ((6, 6), (3, 3))) -> list[np.ndarray]:
    """Return one (images, H, W) array of random patch scores per member."""
    generator = np.random.default_rng(seed)
    return [generator.gamma(2.0, size=(images, *grid)).astype(np.float32) for grid in grids]
