"""The type of what a layout returns: category -> the function that lists it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.data.discovery import Walk

Categories = Mapping[str, Callable[[], Walk]]


@dataclass(frozen=True)
class Place:
    """Where the images of a category are.

    Attributes:
        category: Name of the category.
        folder: Its folder below the data root; empty if the data root is the category.
        notes: Sentences for the user about other folders of the data root, which the listing of the category repeats.
    """

    category: str
    folder: str
    notes: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Beginning of the names of its files."""
        return f"{self.folder}/" if self.folder else ""
