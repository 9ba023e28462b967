"""What a run directory holds: names and schemas. Plain files that every tool reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from reconpatch.model import ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE

_SCORED: list[tuple[str, pa.DataType]] = [
    ("run_id", pa.string()),
    ("model_version", pa.string()),
    ("scored_at", pa.timestamp("us", tz="UTC")),
]
_IMAGE: list[tuple[str, pa.DataType]] = [
    ("category", pa.string()),
    ("image_path", pa.string()),
    ("split", pa.string()),
    ("part", pa.string()),
    ("defect", pa.string()),
    ("label", pa.int8()),
]
_PEAK: list[tuple[str, pa.DataType]] = [
    ("peak_row", pa.int32()),
    ("peak_col", pa.int32()),
    ("nearest_backbone", pa.string()),
    ("nearest_image", pa.string()),
    ("nearest_row", pa.int32()),
    ("nearest_col", pa.int32()),
]

INDEX = pa.schema(
    [
        ("category", pa.string()),
        ("split", pa.string()),
        ("part", pa.string()),
        ("defect", pa.string()),
        ("label", pa.int8()),
        ("image_path", pa.string()),
        ("mask_path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("content_sha256", pa.string()),
        ("mask_sha256", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
TRAIN = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("content_sha256", pa.string()), ("part", pa.string())]
)
TRAINING = pa.schema(
    [
        ("category", pa.string()),
        ("backbone", pa.string()),
        ("step", pa.int32()),
        ("loss", pa.float32()),
        ("weight", pa.float32()),
        ("distance", pa.float32()),
        ("rank", pa.float32()),
    ]
)
BANK_INDEX = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("row", pa.int32()), ("col", pa.int32())]
)
MEMBER_SCORES = pa.schema(
    [
        *_IMAGE,
        ("score", pa.float64()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
        ("patch_scores", pa.list_(pa.float32())),
        ("patch_nearest", pa.list_(pa.int32())),
        ("unexplained", pa.float64()),
        ("unexplained_row", pa.int32()),
        ("unexplained_col", pa.int32()),
        ("unexplained_nearest", pa.int32()),
        ("content_sha256", pa.string()),
        *_SCORED,
    ]
)
AUDIT = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("part", pa.string()),
        ("suspicion", pa.float64()),
        ("is_suspicious", pa.bool_()),
        *_PEAK,
    ]
)
MAPS = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("map", pa.list_(pa.float32())),
        *_SCORED,
    ]
)
METRICS = pa.schema(
    [
        ("category", pa.string()),
        ("model", pa.string()),
        ("image_auroc", pa.float64()),
        ("image_ap", pa.float64()),
        ("image_f1max", pa.float64()),
        ("d_prime", pa.float64()),
        ("pixel_auroc", pa.float64()),
        ("pixel_ap", pa.float64()),
        ("pixel_f1max", pa.float64()),
        ("aupro", pa.float64()),
        ("n_good", pa.int64()),
        ("n_defect", pa.int64()),
    ]
)
FAILURES = pa.schema(
    [
        ("category", pa.string()),
        ("backbone", pa.string()),
        ("stage", pa.string()),
        ("image_path", pa.string()),
        ("error", pa.string()),
    ]
)
NIGHT = pa.schema(
    [
        ("category", pa.string()),
        ("run_id", pa.string()),
        ("learned", pa.string()),
        ("candidate", pa.string()),
        ("reasons", pa.string()),
        ("model_version", pa.string()),
        ("judged", pa.string()),
        ("images", pa.int64()),
        ("unreadable", pa.int64()),
        ("anomalies", pa.int64()),
        ("above_threshold", pa.float64()),
        ("ks", pa.float64()),
        ("ks_p_value", pa.float64()),
        ("rare", pa.float64()),
    ]
)
DRIFT = pa.schema(
    [
        ("category", pa.string()),
        *_SCORED,
        ("images", pa.int64()),
        ("holdout", pa.int64()),
        ("quantiles", pa.list_(pa.float64())),
        ("holdout_quantiles", pa.list_(pa.float64())),
        ("ks", pa.float64()),
        ("ks_p_value", pa.float64()),
        ("above_threshold", pa.float64()),
        ("rare", pa.float64()),
    ]
)

# Of `compare`: B less A, and the images that are judged otherwise.
COMPARISON = pa.schema(
    [
        ("category", pa.string()),
        ("metric", pa.string()),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("difference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("deviation", pa.float64()),
        ("interval", pa.string()),
        ("p_value", pa.float64()),
    ]
)
CHANGED = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("label", pa.int8()),
        ("score_a", pa.float64()),
        ("score_b", pa.float64()),
        ("is_anomaly_a", pa.bool_()),
        ("is_anomaly_b", pa.bool_()),
        ("is_better", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Stamp:
    """What every scored row carries beside the model's version: which run, and when."""

    run_id: str
    scored_at: datetime

    def columns(self, model_version: str) -> dict[str, Any]:
        """The row's columns, of a model."""
        return {"run_id": self.run_id, "model_version": model_version, "scored_at": self.scored_at}


def fused_schema(backbones: Sequence[str]) -> pa.Schema:
    """scores/fused: one column score_<backbone> a member, the member's largest normalised score."""
    return pa.schema(
        [
            *_IMAGE,
            ("score", pa.float64()),
            ("p_value", pa.float64()),
            ("threshold", pa.float64()),
            ("is_anomaly", pa.bool_()),
            *_PEAK,
            *((f"score_{backbone}", pa.float64()) for backbone in backbones),
            *_SCORED,
        ]
    )


def folder_name(category: str) -> str:
    """A category as one path component: percent-quoted, so that every name comes back exactly."""
    quoted = quote(category, safe=" ", errors="surrogatepass")  # an option may hold bytes that are no text
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


RUN = "run.json"
INDEX_FILE = "index.parquet"
METRICS_FILE = "metrics.parquet"
METRICS_CSV = "metrics.csv"
FAILURES_FILE = "failures.parquet"
LEASE = "lease.json"
NIGHT_FILE = "night.parquet"
DRIFT_FILE = "drift.parquet"
SCRATCH = "_scratch"
MODELS_FOLDER = "models"
FUSED_FOLDER = "scores/fused"
MAPS_FOLDER = "maps"
REPORT = "report"
COMPARE = "compare"
PART_ROWS = 100_000  # at most, of a file of scores that have parts

# What a fresh run removes, and nothing else that may lie in the folder.
FOLDERS = (MODELS_FOLDER, "scores", MAPS_FOLDER, REPORT, COMPARE, SCRATCH)
FILES = (RUN, INDEX_FILE, METRICS_FILE, METRICS_CSV, FAILURES_FILE)


# Beside model.json in a category's model folder, of a run or of a registry.
TRAIN_FILE = "train.parquet"
AUDIT_FILE = "audit.parquet"
RULING = "ruling.json"


def adapter_name(backbone: str) -> str:
    """f's weight."""
    return f"{backbone}/{ADAPTER_FILE}"


def training_name(backbone: str) -> str:
    """The losses of the adapter's training."""
    return f"{backbone}/training.parquet"


def bank_name(backbone: str) -> str:
    """Entries and radius of the memory bank."""
    return f"{backbone}/{BANK_FILE}"


def bank_index_name(backbone: str) -> str:
    """Where each entry of the bank came from: rows of `BANK_INDEX`."""
    return f"{backbone}/{BANK_INDEX_FILE}"


def model_folder(category: str) -> str:
    """Of a category's model in a run."""
    return f"{MODELS_FOLDER}/{folder_name(category)}"


def member_scores_file(category: str, backbone: str) -> str:
    """Rows of `MEMBER_SCORES`, in a run."""
    return f"scores/members/{folder_name(category)}/{backbone}.parquet"


def fused_parts(category: str) -> str:
    """The folder of a category's fused scores where they are of new images and have parts."""
    return f"{FUSED_FOLDER}/{folder_name(category)}"


def fused_part(category: str, number: int) -> str:
    """Rows of `fused_schema`, at most `PART_ROWS`."""
    return f"{fused_parts(category)}/part-{number:05d}.parquet"


def maps_parts(category: str) -> str:
    """The folder of a category's maps where they are of new images."""
    return f"{MAPS_FOLDER}/{folder_name(category)}"


def maps_part(category: str, number: int) -> str:
    """How the files of a part's maps begin: several tasks write them."""
    return f"{maps_parts(category)}/part-{number:05d}"


def fused_scores_file(category: str) -> str:
    """Rows of `fused_schema`, in a run."""
    return f"{fused_parts(category)}.parquet"


def maps_file(category: str) -> str:
    """Rows of `MAPS`, in a run."""
    return f"{maps_parts(category)}.parquet"


def shards_folder(category: str) -> str:
    """In scratch; a folder a backbone below it."""
    return f"features/{folder_name(category)}"


def checkpoint_file(category: str, backbone: str) -> str:
    """In scratch: where a training that is interrupted goes on."""
    return f"checkpoints/{folder_name(category)}/{backbone}.safetensors"


def queue_file(name: str) -> str:
    """In scratch: the accounts of a Ray Train run of that name, while it runs."""
    return f"queues/{name}.json"
