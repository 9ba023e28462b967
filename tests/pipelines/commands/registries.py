"""A small registry for the tests of `models` and `status`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipelines.registry.registry import Registry
from pipelines.registry.ruling import StoredRuling
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from reconpatch.evaluation.acceptance import AcceptanceStatus

_MEMBER = MemberModel("lite0", (2, 3), 3, "concat", 0, "package x", "ab" * 32, "cd" * 32)
_MODEL = Model("nut", "one", (_MEMBER,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
_PASSED = StoredRuling(at="2026-01-01T00:00:00.000000+00:00", status=AcceptanceStatus.PASSED)


def make_registry(folder: Path, *versions: str, category: str = "nut") -> Registry:
    """Add versions to a registry, one per day, and promote each; they contain only model.json and ruling.json."""
    registry = Registry(Store.of(str(folder / "registry")))
    for number, version in enumerate(versions, start=1):
        source = Store.of(str(folder / "run" / category / version))
        source.write("model.json", to_json(replace(_MODEL, category=category, version=version)).encode())
        ruling = replace(_PASSED, at=f"2026-01-{number:02d}T00:00:00.000000+00:00")
        registry.add(category, version, source=source, ruling=ruling)
        registry.promote(category, version, ruling=ruling)
    return registry
