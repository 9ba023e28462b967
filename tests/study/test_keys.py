"""Tests that renaming a field does not change the names of stored files."""

from __future__ import annotations

import hashlib

from study.keys import file_name


def test_a_renamed_field_keeps_the_name_of_its_files() -> None:
    text = '["cloth", {"levels": [2, 3]}, [{"config": {"start": "neighbours", "neighbours": 5}}], 0]'
    renamed = ["cloth", {"layers": (2, 3)}, [{"config": {"init": "neighbors", "contrastive_neighbors": 5}}], 0]
    assert file_name(renamed) == hashlib.sha256(text.encode()).hexdigest()[:24]


def test_different_values_have_different_names() -> None:
    assert file_name(["cloth", {"trim": 0.1}]) != file_name(["cloth", {"trim": 0.2}])
