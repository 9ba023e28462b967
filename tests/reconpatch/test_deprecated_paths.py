"""Old import paths: each public name of version 0.1 can be imported, issues a warning, and is the new object."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import reconpatch
from reconpatch.adapter import training
from reconpatch.adapter.similarity import pairwise_similarity, similarity
from reconpatch.deprecated_paths import MOVED, OldModule, RenamedWarning

ROOT = Path(__file__).parents[2]
# The public names of each module of version 0.1.
OLD = {
    "adapter": "LOOK_EVERY KEEP_EVERY Adapter train_adapter embed",
    "arrays": "Array as_tensor like",
    "audit": "Unexplained unexplained Suspicion suspicion suspicious_above",
    "backbones": "WEIGHT_PACKAGES BackboneError Backbone load_backbone find_weights",
    "collapse": "Spread spread require_spread",
    "comparison": (
        "RESAMPLES Difference wins resampled_means interval auroc_difference mean_difference resampled_differences"
    ),
    "coreset": "Selection Coreset select_coreset farthest_first",
    "decoding": "ImageError",
    "defects": "KINDS LEAST_SIDE paste_defect",
    "detector": "Verdict LoadedMember Detector",
    "distances": "rounding require_finite squared_lengths squared_distances neighbourhoods nearest_rows",
    "drift": "QUANTILES DRIFTED Drift drift_of",
    "fusion": (
        "BETA ScoreStatistics score_statistics modified_z_score fuse_maps Peaks largest_scores image_scores find_peaks"
    ),
    "gate": "FEWEST Evidence Comparison Ruling rule too_many_suspects",
    "geometry": "resize_for Geometry",
    "images": "SUFFIXES Picture read_image read_picture read_mask preprocess preprocess_mask ImageError",
    "losses": "relaxed_contrastive_loss",
    "maps": "anomaly_map to_original",
    "metrics": (
        "ImageMetrics PixelMetrics image_metrics image_auroc image_ap roc precision_and_recall f1_max d_prime "
        "pixel_metrics pixel_auroc pixel_ap pixel_f1_max aupro"
    ),
    "model": (
        "FORMAT CODE_VERSION FUSIONS MODEL_FILE ADAPTER_FILE BANK_FILE BANK_INDEX_FILE ModelError MemberModel Model "
        "Judgement normalise calibrate with_false_alarms normalised_scores judge to_json from_json"
    ),
    "onnx_check": "TOLERANCE Differences compare trial_pictures",
    "onnx_graph": "OUTPUTS ExportError NearestEntries ScoringGraph resized trace without_features metadata",
    "patches": "AGGREGATIONS CHANNELS feature_channels patch_features extract_features finest_grid",
    "pictures": "small_size small coloured outlines close_up counts",
    "schedule": "AdapterConfig Schedule schedule",
    "scoring": "PatchScores MemoryBank",
    "similarity": "pairwise_similarity contextual_similarity similarity neighbour_scale",
    "starts": "STARTS start_map",
    "thresholds": "FEWEST_CONTENTS Threshold bound_keeps images_needed held_out conformal_threshold p_values",
    "training_state": "State initial_state tensors_of state_of",
}
PUBLIC = [(module, name) for module, names in OLD.items() for name in names.split()]
# Names of version 0.1 that have changed → their new names.
RENAMED = {
    "STARTS": "INITIALIZATIONS",
    "start_map": "initial_map",
    "neighbour_scale": "neighbor_scale",
    "neighbourhoods": "neighborhoods",
    "normalise": "normalize",
    "normalised_scores": "normalized_scores",
    "coloured": "colored",
    "Judgement": "Prediction",
    "judge": "predict",
    "Ruling": "AcceptanceResult",
    "rule": "acceptance_test",
    "too_many_suspects": "too_many_outliers",
    "Suspicion": "OutlierScores",
    "suspicion": "outlier_scores",
    "suspicious_above": "outlier_threshold",
}


def new_path(module: str, name: str) -> str:
    """Return the new full path of an old name."""
    successor = MOVED.get(f"reconpatch.{module}.{name}")
    return successor or f"{MOVED[f'reconpatch.{module}']}.{name}"


def run(program: str, *options: str) -> str:
    """Run a program in a new process and return its output."""
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[".".join(pair) for pair in PUBLIC])
def test_every_old_name_is_the_new_object_and_warns_of_its_path(module: str, name: str) -> None:
    if module == "arrays":  # this module has not moved
        assert hasattr(importlib.import_module("reconpatch.arrays"), name)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)  # only the first import of a module issues its warning
        old = importlib.import_module(f"reconpatch.{module}")
    new = new_path(module, name)
    owner, _, new_name = new.rpartition(".")
    with pytest.warns(RenamedWarning) as caught:
        value = getattr(old, name)
    assert value is getattr(importlib.import_module(owner), new_name)
    assert new_name == RENAMED.get(name, name)
    (warning,) = caught
    assert str(warning.message).startswith(f"reconpatch.{module}.{name} is now {new}.")
    assert warning.filename == __file__
    assert issubclass(warning.category, DeprecationWarning)


@pytest.mark.parametrize("module", sorted(OLD.keys() - {"adapter", "arrays", "detector"}))
def test_importing_an_old_module_warns_at_the_line_that_imports_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"reconpatch.{module}", raising=False)
    with pytest.warns(RenamedWarning) as caught:
        exec(compile(f"\nimport reconpatch.{module}", "users_script.py", "exec"), {})
    (warning,) = caught
    assert str(warning.message).startswith(f"reconpatch.{module} is now {MOVED[f'reconpatch.{module}']}.")
    assert (warning.filename, warning.lineno) == ("users_script.py", 2)


def test_the_table_contains_only_old_modules_and_their_public_names() -> None:
    old = {f"reconpatch.{module}" for module in OLD} | {f"reconpatch.{module}.{name}" for module, name in PUBLIC}
    assert MOVED.keys() <= old


def test_old_names_and_new_modules_are_imported_from_the_packages_side_by_side() -> None:
    program = (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning); "
        "from reconpatch.adapter import train_adapter, training, similarity; "
        "from reconpatch.detector import Detector, detector; "
        "print(train_adapter is training.train_adapter, Detector is detector.Detector, similarity.__name__)"
    )
    assert run(program) == "True True reconpatch.adapter.similarity"


def test_unknown_names_raise() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)
        old = importlib.import_module("reconpatch.coreset")
    assert isinstance(old, OldModule)
    for module in (old, reconpatch.adapter, reconpatch):
        for name in ("nothing", "_select"):
            with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute '{name}'"):
                getattr(module, name)
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'reconpatch\.nothing'"):
        importlib.import_module("reconpatch.nothing")


def test_the_names_of_an_old_module_are_listed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)
        old = importlib.import_module("reconpatch.starts")
    assert {"STARTS", "start_map"} <= set(dir(old))


def test_importing_the_old_module_similarity_keeps_the_function_similarity() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)
        importlib.import_module("reconpatch.similarity")
        from reconpatch.similarity import contextual_similarity  # type: ignore[import-not-found]
    assert reconpatch.similarity is similarity
    assert reconpatch.similarity.pairwise_similarity is pairwise_similarity  # type: ignore[attr-defined]
    assert contextual_similarity is reconpatch.contextual_similarity
    from reconpatch import similarity as again

    assert again is similarity


def test_importing_the_old_module_similarity_keeps_the_function_in_a_new_process() -> None:
    program = (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning); "
        "import reconpatch.similarity; import numpy as np; z = np.eye(4); "
        "print(reconpatch.similarity.pairwise_similarity(z).shape, reconpatch.similarity(z).shape, "
        "reconpatch.similarity.neighbour_scale(z))"
    )
    assert run(program) == "(4, 4) (4, 4) 2.0"


def test_the_code_of_the_repository_uses_no_old_path() -> None:
    files = [
        path
        for folder in ("reconpatch", "pipelines", "benchmarks", "study", "cluster", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    ]
    old = [(path.name, name) for path in files for name in sorted(imports(path) & MOVED.keys())]
    assert old == []


def imports(path: Path) -> set[str]:
    """Return the full names that a file imports, without the public names of `reconpatch`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            public = reconpatch.__all__ if node.module == "reconpatch" else []
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public)}
    return names


def test_importing_the_modules_issues_no_warning() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "reconpatch").rglob("*.py"))
        if path.stem != "__init__"
    ]
    program = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    assert run(program, "-W", "error:reconpatch:DeprecationWarning") == ""
    assert training.__name__ in modules
