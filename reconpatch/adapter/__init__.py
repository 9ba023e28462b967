"""Training of the linear adapter (section 3.2 of the paper, eqs. 1 to 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconpatch.deprecated_paths import moved_attribute

if not TYPE_CHECKING:  # a type checker reports the old names

    def __getattr__(name: str) -> Any:
        return moved_attribute(__name__, name)
