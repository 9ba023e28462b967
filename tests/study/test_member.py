"""Tests of the scores of one member."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from study.data import Category
from study.features import FeatureSpec, FeatureStore
from study.recipe import Recipe
from study.trial import StudyFolder, Trial, member_result


def test_with_own_entries_excluded_an_image_is_compared_with_the_other_images(
    category: Category, folder: StudyFolder
) -> None:
    spec = FeatureSpec(size=64)
    everything = Recipe(members=(spec,), coreset=1.0, left_out=True, score_neighbors=1)
    maps = member_result(Trial(category, everything, 0, "A"), spec, folder).holdout
    stored = FeatureStore(category, folder.features).features(spec, category.train)
    values = stored.values.astype(np.float64)
    for number, image in enumerate(values):
        rest = np.delete(values, number, axis=0).reshape(-1, image.shape[1])
        np.testing.assert_allclose(maps[number].ravel(), cdist(image, rest).min(1), rtol=1e-4)
