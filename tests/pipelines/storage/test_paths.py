"""Names in a run directory: any category is one path component, and no folder looks like a partition."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage.paths import folder_name


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=40))
def test_a_category_is_one_path_component_and_comes_back(category: str) -> None:
    name = folder_name(category)
    assert unquote(name) == category
    assert name not in (".", "..")
    assert not set(name) & set('/\\=#?:*"<>|\n')


def test_a_key_value_name_never_looks_like_a_partition() -> None:
    assert folder_name("part=004711") == "part%3D004711"
    assert [folder_name(each) for each in (".", "..", "a.b")] == ["%2E", "%2E%2E", "a.b"]
