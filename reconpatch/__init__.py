"""ReConPatch (Hyun et al., WACV 2024): visual anomaly detection that is trained on good images only.

The functions of this package take arrays and return arrays. The package depends neither on Ray nor on the layout of a
run directory; both belong to the package `pipelines`. Import the public names from `reconpatch` itself; their modules
are loaded at first use: `from reconpatch import Detector, MemoryBank`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reconpatch import deprecated_paths

if TYPE_CHECKING:
    from reconpatch.adapter.losses import relaxed_contrastive_loss
    from reconpatch.adapter.schedule import AdapterConfig
    from reconpatch.adapter.similarity import contextual_similarity, pairwise_similarity, similarity
    from reconpatch.adapter.training import Adapter, train_adapter
    from reconpatch.detector.detector import Detector, Verdict
    from reconpatch.detector.fusion import fuse_maps, modified_z_score
    from reconpatch.detector.thresholds import conformal_threshold, p_values
    from reconpatch.evaluation.metrics import image_metrics, pixel_metrics
    from reconpatch.features.backbones import Backbone, load_backbone
    from reconpatch.features.patches import patch_features
    from reconpatch.imaging.anomaly_maps import anomaly_map
    from reconpatch.imaging.geometry import Geometry
    from reconpatch.imaging.images import preprocess, read_image
    from reconpatch.neighbors.coreset import Coreset, select_coreset
    from reconpatch.neighbors.memory_bank import MemoryBank, PatchScores

__all__ = [
    "Adapter",
    "AdapterConfig",
    "Backbone",
    "Coreset",
    "Detector",
    "Geometry",
    "MemoryBank",
    "PatchScores",
    "Verdict",
    "anomaly_map",
    "conformal_threshold",
    "contextual_similarity",
    "fuse_maps",
    "image_metrics",
    "load_backbone",
    "modified_z_score",
    "p_values",
    "pairwise_similarity",
    "patch_features",
    "pixel_metrics",
    "preprocess",
    "read_image",
    "relaxed_contrastive_loss",
    "select_coreset",
    "similarity",
    "train_adapter",
]

__version__ = "0.2.0"

# Public name → module that defines it. Importing the package loads none of these modules, so it is fast and loads
# neither torch nor numpy.
_MODULE_OF = {
    "Adapter": "reconpatch.adapter.training",
    "AdapterConfig": "reconpatch.adapter.schedule",
    "Backbone": "reconpatch.features.backbones",
    "Coreset": "reconpatch.neighbors.coreset",
    "Detector": "reconpatch.detector.detector",
    "Geometry": "reconpatch.imaging.geometry",
    "MemoryBank": "reconpatch.neighbors.memory_bank",
    "PatchScores": "reconpatch.neighbors.memory_bank",
    "Verdict": "reconpatch.detector.detector",
    "anomaly_map": "reconpatch.imaging.anomaly_maps",
    "conformal_threshold": "reconpatch.detector.thresholds",
    "contextual_similarity": "reconpatch.adapter.similarity",
    "fuse_maps": "reconpatch.detector.fusion",
    "image_metrics": "reconpatch.evaluation.metrics",
    "load_backbone": "reconpatch.features.backbones",
    "modified_z_score": "reconpatch.detector.fusion",
    "p_values": "reconpatch.detector.thresholds",
    "pairwise_similarity": "reconpatch.adapter.similarity",
    "patch_features": "reconpatch.features.patches",
    "pixel_metrics": "reconpatch.evaluation.metrics",
    "preprocess": "reconpatch.imaging.images",
    "read_image": "reconpatch.imaging.images",
    "relaxed_contrastive_loss": "reconpatch.adapter.losses",
    "select_coreset": "reconpatch.neighbors.coreset",
    "similarity": "reconpatch.adapter.similarity",
    "train_adapter": "reconpatch.adapter.training",
}


if not TYPE_CHECKING:  # type checkers read the imports above; without __getattr__ they report unknown names

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


deprecated_paths.install()
