"""Place of a category in a data root."""

from __future__ import annotations

from pipelines.data.layouts.categories import Place


def test_the_names_of_a_category_begin_with_its_folder_unless_it_is_the_data_root() -> None:
    assert Place("nut", "group/nut").prefix == "group/nut/"
    assert Place("nut", "").prefix == ""
