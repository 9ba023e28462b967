"""Names in a run directory: a category becomes one path component that is not mistaken for a partition."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage.paths import folder_name


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=40))
def test_a_category_becomes_one_path_component_and_can_be_restored(category: str) -> None:
    name = folder_name(category)
    assert unquote(name) == category
    assert name not in (".", "..")
    assert not set(name) & set('/\\=#?:*"<>|\n')


def test_a_key_value_name_never_looks_like_a_partition() -> None:
    assert folder_name("part=004711") == "part%3D004711"
    assert [folder_name(category) for category in (".", "..", "a.b")] == ["%2E", "%2E%2E", "a.b"]
