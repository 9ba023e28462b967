"""The public names of `reconpatch`: where they are defined, that they load on demand, and that their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reconpatch

ROOT = Path(__file__).parents[2]
PUBLIC = [
    "Detector",
    "Verdict",
    "MemoryBank",
    "PatchScores",
    "select_coreset",
    "Coreset",
    "load_backbone",
    "Backbone",
    "patch_features",
    "read_image",
    "preprocess",
    "Geometry",
    "pairwise_similarity",
    "contextual_similarity",
    "similarity",
    "relaxed_contrastive_loss",
    "train_adapter",
    "Adapter",
    "AdapterConfig",
    "modified_z_score",
    "fuse_maps",
    "anomaly_map",
    "conformal_threshold",
    "p_values",
    "image_metrics",
    "pixel_metrics",
]


def run(program: str) -> str:
    """Run a program in a new process, in which deprecated names are errors, and return its output."""
    command = [sys.executable, "-W", "error:reconpatch:DeprecationWarning", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def examples_of(value: Any) -> doctest.DocTest:
    """Return the examples in the docstring of an object.

    `doctest.testmod` does not find decorated functions, so this function reads the docstring of the object itself. The
    examples start without global names and must import everything that they use, as a user of the package must.
    """
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=False)
    (found,) = finder.find(value, value.__name__, module=False, globs={})
    return found


def test_the_public_names() -> None:
    assert sorted(reconpatch.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(reconpatch))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_object_of_its_module(name: str) -> None:
    value = getattr(reconpatch, name)
    assert value.__name__ == name
    assert getattr(importlib.import_module(value.__module__), name) is value
    assert value.__doc__


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    loaded = run(
        "import sys, reconpatch; print([name for name in ('torch', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    assert loaded == "[]"


def test_a_public_name_loads_only_its_own_module() -> None:
    program = (
        "import sys; from reconpatch import conformal_threshold; "
        "print([name for name in sys.modules if name.startswith('reconpatch.')], 'torch' in sys.modules)"
    )
    modules = ["reconpatch.deprecated_paths", "reconpatch.detector", "reconpatch.detector.thresholds"]
    assert run(program) == f"{modules} False"


def test_a_star_import_imports_all_public_names() -> None:
    assert run(f"from reconpatch import *; print(all(name in globals() for name in {PUBLIC}))") == "True"


def test_an_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="module 'reconpatch' has no attribute 'Nothing'"):
        reconpatch.Nothing  # type: ignore[attr-defined]  # noqa: B018 (the access raises)


def test_the_package_has_a_version_and_types() -> None:
    assert reconpatch.__version__ == "0.2.0"
    assert (ROOT / "reconpatch" / "py.typed").read_bytes() == b""


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some examples read the test data of the repository
    value = getattr(reconpatch, name)
    assert "\nExamples:\n" in (inspect.getdoc(value) or "")
    found = examples_of(value)
    assert found.examples
    assert not any(doctest.SKIP in example.options for example in found.examples)
    assert doctest.DocTestRunner().run(found).failed == 0


def test_an_object_without_an_example_has_none() -> None:
    assert examples_of(run).examples == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "reconpatch").rglob("*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_examples_of_a_module_run(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
