"""Names of the files and folders in a run directory, in scratch space and in the folder of a model."""

from __future__ import annotations

from urllib.parse import quote

from reconpatch.detector.model import ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE


def folder_name(category: str) -> str:
    """Return the name of a category as one path component.

    Args:
        category: Name of the category; any text.

    Returns:
        Percent-encoded name; `urllib.parse.unquote` restores the original.
    """
    quoted = quote(category, safe=" ", errors="surrogatepass")  # arguments on the command line may not be valid UTF-8
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
FIGURE_FORMATS = ("png", "svg", "pdf")  # file formats of the figures in the report
COMPARE = "compare"
PART_ROWS = 100_000  # largest number of rows in one file with the scores of new images

# Folders and files that a fresh run removes from the run directory; everything else is kept.
FOLDERS = (MODELS_FOLDER, "scores", MAPS_FOLDER, REPORT, COMPARE, SCRATCH)
FILES = (RUN, INDEX_FILE, METRICS_FILE, METRICS_CSV, FAILURES_FILE)

# Files beside model.json in the folder of a category's model, in a run directory or a registry.
TRAIN_FILE = "train.parquet"
AUDIT_FILE = "audit.parquet"
RULING = "ruling.json"


def adapter_name(backbone: str) -> str:
    """Return the name of the file with a member's adapter, below the folder of the model.

    Args:
        backbone: Name of the member's backbone.

    Returns:
        Name of a safetensors file.
    """
    return f"{backbone}/{ADAPTER_FILE}"


def training_name(backbone: str) -> str:
    """Return the name of the file with the losses of a member's training, below the folder of the model.

    Args:
        backbone: Name of the member's backbone.

    Returns:
        Name of a Parquet file with the schema `TRAINING`.
    """
    return f"{backbone}/training.parquet"


def bank_name(backbone: str) -> str:
    """Return the name of the file with a member's memory bank, below the folder of the model.

    Args:
        backbone: Name of the member's backbone.

    Returns:
        Name of a safetensors file.
    """
    return f"{backbone}/{BANK_FILE}"


def bank_index_name(backbone: str) -> str:
    """Return the name of the file with the origin of each bank entry of a member, below the folder of the model.

    Args:
        backbone: Name of the member's backbone.

    Returns:
        Name of a Parquet file with the schema `BANK_INDEX`.
    """
    return f"{backbone}/{BANK_INDEX_FILE}"


def model_folder(category: str) -> str:
    """Return the folder of a category's model, below the run directory.

    Args:
        category: Name of the category.

    Returns:
        Name of the folder.
    """
    return f"{MODELS_FOLDER}/{folder_name(category)}"


def member_scores_file(category: str, backbone: str) -> str:
    """Return the name of the file with a member's scores, below the run directory.

    Args:
        category: Name of the category.
        backbone: Name of the member's backbone.

    Returns:
        Name of a Parquet file with the schema `MEMBER_SCORES`.
    """
    return f"scores/members/{folder_name(category)}/{backbone}.parquet"


def fused_parts(category: str) -> str:
    """Return the folder with the fused scores of a category's new images, which are split into parts.

    Args:
        category: Name of the category.

    Returns:
        Name of the folder below the run directory.
    """
    return f"{FUSED_FOLDER}/{folder_name(category)}"


def fused_part(category: str, number: int) -> str:
    """Return the name of the file with one part of the fused scores of a category's new images.

    Args:
        category: Name of the category.
        number: Number of the part, from 0.

    Returns:
        Name of a Parquet file below the run directory, with the schema `fused_schema` and at most `PART_ROWS` rows.
    """
    return f"{fused_parts(category)}/part-{number:05d}.parquet"


def maps_parts(category: str) -> str:
    """Return the folder with the anomaly maps of a category's new images.

    Args:
        category: Name of the category.

    Returns:
        Name of the folder below the run directory.
    """
    return f"{MAPS_FOLDER}/{folder_name(category)}"


def maps_part(category: str, number: int) -> str:
    """Return the common beginning of the names of the files with the anomaly maps of one part.

    Several tasks write the maps of a part, each to its own file.

    Args:
        category: Name of the category.
        number: Number of the part, from 0.

    Returns:
        Beginning of the file names, below the run directory.
    """
    return f"{maps_parts(category)}/part-{number:05d}"


def fused_scores_file(category: str) -> str:
    """Return the name of the file with the fused scores of a category, below the run directory.

    Args:
        category: Name of the category.

    Returns:
        Name of a Parquet file with the schema `fused_schema`.
    """
    return f"{fused_parts(category)}.parquet"


def maps_file(category: str) -> str:
    """Return the name of the file with the anomaly maps of a category, below the run directory.

    Args:
        category: Name of the category.

    Returns:
        Name of a Parquet file with the schema `MAPS`.
    """
    return f"{maps_parts(category)}.parquet"


def shards_folder(category: str) -> str:
    """Return the folder with the feature shards of a category, which contains one folder per backbone.

    Args:
        category: Name of the category.

    Returns:
        Name of the folder below the scratch space.
    """
    return f"features/{folder_name(category)}"


def checkpoint_file(category: str, backbone: str) -> str:
    """Return the name of the checkpoint from which an interrupted training of a member resumes.

    Args:
        category: Name of the category.
        backbone: Name of the member's backbone.

    Returns:
        Name of a safetensors file below the scratch space.
    """
    return f"checkpoints/{folder_name(category)}/{backbone}.safetensors"


def queue_file(name: str) -> str:
    """Return the name of the file with the state of the job queue of a Ray Train run, which exists while the run lasts.

    Args:
        name: Name of the Ray Train run.

    Returns:
        Name of a JSON file below the scratch space.
    """
    return f"queues/{name}.json"
