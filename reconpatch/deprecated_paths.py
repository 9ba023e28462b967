"""Import paths of version 0.1, which work for one more release and issue a warning that names the new path.

`MOVED` is the only table of these paths. An import hook finds old modules that no longer exist. The modules `adapter`
and `detector` of version 0.1 are packages now; their `__getattr__` calls `moved_attribute` for the old names.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old path → new path, for modules that no longer exist, and for names that the successor of their module lacks.
MOVED = {
    "reconpatch.adapter.Adapter": "reconpatch.adapter.training.Adapter",
    "reconpatch.adapter.KEEP_EVERY": "reconpatch.adapter.training.KEEP_EVERY",
    "reconpatch.adapter.LOOK_EVERY": "reconpatch.adapter.training.LOOK_EVERY",
    "reconpatch.adapter.embed": "reconpatch.adapter.training.embed",
    "reconpatch.adapter.train_adapter": "reconpatch.adapter.training.train_adapter",
    "reconpatch.audit": "reconpatch.evaluation.outliers",
    "reconpatch.audit.Suspicion": "reconpatch.evaluation.outliers.OutlierScores",
    "reconpatch.audit.suspicion": "reconpatch.evaluation.outliers.outlier_scores",
    "reconpatch.audit.suspicious_above": "reconpatch.evaluation.outliers.outlier_threshold",
    "reconpatch.backbones": "reconpatch.features.backbones",
    "reconpatch.backbones.BackboneError": "reconpatch.exceptions.BackboneError",
    "reconpatch.collapse": "reconpatch.adapter.collapse",
    "reconpatch.comparison": "reconpatch.evaluation.comparison",
    "reconpatch.coreset": "reconpatch.neighbors.coreset",
    "reconpatch.decoding": "reconpatch.imaging.decoding",
    "reconpatch.decoding.ImageError": "reconpatch.exceptions.ImageError",
    "reconpatch.defects": "reconpatch.imaging.synthetic_defects",
    "reconpatch.detector.Detector": "reconpatch.detector.detector.Detector",
    "reconpatch.detector.LoadedMember": "reconpatch.detector.detector.LoadedMember",
    "reconpatch.detector.Verdict": "reconpatch.detector.detector.Verdict",
    "reconpatch.distances": "reconpatch.neighbors.distances",
    "reconpatch.distances.neighbourhoods": "reconpatch.neighbors.distances.neighborhoods",
    "reconpatch.drift": "reconpatch.evaluation.drift",
    "reconpatch.fusion": "reconpatch.detector.fusion",
    "reconpatch.gate": "reconpatch.evaluation.acceptance",
    "reconpatch.gate.Ruling": "reconpatch.evaluation.acceptance.AcceptanceResult",
    "reconpatch.gate.rule": "reconpatch.evaluation.acceptance.acceptance_test",
    "reconpatch.gate.too_many_suspects": "reconpatch.evaluation.acceptance.too_many_outliers",
    "reconpatch.geometry": "reconpatch.imaging.geometry",
    "reconpatch.images": "reconpatch.imaging.images",
    "reconpatch.images.ImageError": "reconpatch.exceptions.ImageError",
    "reconpatch.losses": "reconpatch.adapter.losses",
    "reconpatch.maps": "reconpatch.imaging.anomaly_maps",
    "reconpatch.metrics": "reconpatch.evaluation.metrics",
    "reconpatch.model": "reconpatch.detector.model",
    "reconpatch.model.Judgement": "reconpatch.detector.model.Prediction",
    "reconpatch.model.FORMAT": "reconpatch.detector.model_json.FORMAT",
    "reconpatch.model.ModelError": "reconpatch.exceptions.ModelError",
    "reconpatch.model.from_json": "reconpatch.detector.model_json.from_json",
    "reconpatch.model.judge": "reconpatch.detector.model.predict",
    "reconpatch.model.normalise": "reconpatch.detector.model.normalize",
    "reconpatch.model.normalised_scores": "reconpatch.detector.model.normalized_scores",
    "reconpatch.model.to_json": "reconpatch.detector.model_json.to_json",
    "reconpatch.onnx_check": "reconpatch.export.onnx_check",
    "reconpatch.onnx_graph": "reconpatch.export.onnx_graph",
    "reconpatch.onnx_graph.ExportError": "reconpatch.exceptions.ExportError",
    "reconpatch.patches": "reconpatch.features.patches",
    "reconpatch.pictures": "reconpatch.imaging.rendering",
    "reconpatch.pictures.coloured": "reconpatch.imaging.rendering.colored",
    "reconpatch.schedule": "reconpatch.adapter.schedule",
    "reconpatch.scoring": "reconpatch.neighbors.memory_bank",
    "reconpatch.similarity": "reconpatch.adapter.similarity",
    "reconpatch.similarity.neighbour_scale": "reconpatch.adapter.similarity.neighbor_scale",
    "reconpatch.starts": "reconpatch.adapter.initialization",
    "reconpatch.starts.STARTS": "reconpatch.adapter.initialization.INITIALIZATIONS",
    "reconpatch.starts.start_map": "reconpatch.adapter.initialization.initial_map",
    "reconpatch.thresholds": "reconpatch.detector.thresholds",
    "reconpatch.training_state": "reconpatch.adapter.training_state",
}
_MODULES = {path for path in MOVED if path.count(".") == 1}


class RenamedWarning(DeprecationWarning):
    """Warning about the use of an old name that the next release removes."""


def warn_renamed(message: str, *, stacklevel: int) -> None:
    """Issue a RenamedWarning.

    Args:
        message: A sentence that names the new form.
        stacklevel: Stack level as in `warnings.warn`: 1 reports the line that calls this function, 2 its caller.
    """
    warnings.warn(f"{message} The next release removes the old form.", RenamedWarning, stacklevel=stacklevel + 1)


def moved_attribute(module: str, name: str) -> Any:
    """Return the object that a name of an old module refers to, and warn at the line that reads the name.

    Call this function only from the `__getattr__` of the old module; otherwise the warning reports a wrong line.

    Args:
        module: Full name of the old module.
        name: Name of the attribute that is read.

    Returns:
        The object in the new module.

    Raises:
        AttributeError: The old module had no such public name.
    """
    owner, attribute = _successor(module, name)
    if not owner or name.startswith("_") or not hasattr(import_module(owner), attribute):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warn_renamed(f"{module}.{name} is now {owner}.{attribute}.", stacklevel=3)
    return getattr(import_module(owner), attribute)


def _successor(module: str, name: str) -> tuple[str, str]:
    """Return the new module and the new name for a name of an old module; ('', '') if `MOVED` has neither."""
    new = MOVED.get(f"{module}.{name}") or (f"{MOVED[module]}.{name}" if module in MOVED else "")
    owner, _, attribute = new.rpartition(".")
    return owner, attribute


class OldModule(ModuleType):
    """A stand-in for a module of version 0.1; it looks its names up in the module that replaced it."""

    def __getattr__(self, name: str) -> Any:
        return moved_attribute(self.__name__, name)

    def __dir__(self) -> list[str]:
        renamed = [path.rpartition(".")[2] for path in MOVED if path.startswith(f"{self.__name__}.")]
        return [*renamed, *(name for name in dir(import_module(MOVED[self.__name__])) if not name.startswith("_"))]


class OldModuleFinder(MetaPathFinder, Loader):
    """An import hook for the old modules. It is the last hook, so Python uses it only for modules that do not exist."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module specification of an old module.

        Args:
            fullname: Full name of the module to import.
            path: Search path of the parent package; not used.
            target: Module to reload; not used.

        Returns:
            The specification, or None if `fullname` is not an old module.
        """
        return ModuleSpec(fullname, self) if fullname in _MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty stand-in for an old module.

        Args:
            spec: Specification from `find_spec`.
        """
        return OldModule(spec.name, f"{spec.name} is now {MOVED[spec.name]}.")

    def exec_module(self, module: ModuleType) -> None:
        """Warn at the line that imports the old module.

        Args:
            module: Stand-in from `create_module`.
        """
        warn_renamed(f"{module.__name__} is now {MOVED[module.__name__]}.", stacklevel=2)


class Package(ModuleType):
    """The type of the package `reconpatch`, whose public names are not replaced by old modules of the same name.

    `import reconpatch.similarity` keeps the function `reconpatch.similarity`. It adds the names of the old module to
    the function as attributes, so `reconpatch.similarity.pairwise_similarity` works as well.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, OldModule) and name in self.__all__):
            super().__setattr__(name, value)
            return
        public = getattr(self, name)
        for attribute in dir(value):
            owner, new = _successor(value.__name__, attribute)
            setattr(public, attribute, getattr(import_module(owner), new))


def install() -> None:
    """Install the import hook for the old modules, once per process."""
    if not any(isinstance(finder, OldModuleFinder) for finder in sys.meta_path):
        sys.meta_path.append(OldModuleFinder())
    sys.modules["reconpatch"].__class__ = Package
