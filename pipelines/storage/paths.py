"""Names of the files and folders in a run directory, in scratch and in a model's folder."""

from __future__ import annotations

from urllib.parse import quote

from reconpatch.detector.model import ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE


def folder_name(category: str) -> str:
    """Return a category as one path component: percent-quoted, so that `unquote` gives every name back."""
    quoted = quote(category, safe=" ", errors="surrogatepass")  # the command line may hold bytes that are no text
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
FIGURE_FORMATS = ("png", "svg", "pdf")  # of the report's figures
COMPARE = "compare"
PART_ROWS = 100_000  # at most, in one file of the scores of new images

# What a fresh run removes; anything else in the folder stays.
FOLDERS = (MODELS_FOLDER, "scores", MAPS_FOLDER, REPORT, COMPARE, SCRATCH)
FILES = (RUN, INDEX_FILE, METRICS_FILE, METRICS_CSV, FAILURES_FILE)

# Beside model.json in a category's model folder, of a run or of a registry.
TRAIN_FILE = "train.parquet"
AUDIT_FILE = "audit.parquet"
RULING = "ruling.json"


def adapter_name(backbone: str) -> str:
    """Return the file of a member's adapter in a model's folder."""
    return f"{backbone}/{ADAPTER_FILE}"


def training_name(backbone: str) -> str:
    """Return the file of the losses of a member's training in a model's folder: rows of `TRAINING`."""
    return f"{backbone}/training.parquet"


def bank_name(backbone: str) -> str:
    """Return the file of a member's memory bank in a model's folder."""
    return f"{backbone}/{BANK_FILE}"


def bank_index_name(backbone: str) -> str:
    """Return the file that says where each entry of a member's bank came from: rows of `BANK_INDEX`."""
    return f"{backbone}/{BANK_INDEX_FILE}"


def model_folder(category: str) -> str:
    """Return the folder of a category's model in a run."""
    return f"{MODELS_FOLDER}/{folder_name(category)}"


def member_scores_file(category: str, backbone: str) -> str:
    """Return the file of a member's scores in a run: rows of `MEMBER_SCORES`."""
    return f"scores/members/{folder_name(category)}/{backbone}.parquet"


def fused_parts(category: str) -> str:
    """Return the folder of the fused scores of a category's new images, which are in parts."""
    return f"{FUSED_FOLDER}/{folder_name(category)}"


def fused_part(category: str, number: int) -> str:
    """Return the file of a part of these: at most `PART_ROWS` rows of `fused_schema`."""
    return f"{fused_parts(category)}/part-{number:05d}.parquet"


def maps_parts(category: str) -> str:
    """Return the folder of the anomaly maps of a category's new images."""
    return f"{MAPS_FOLDER}/{folder_name(category)}"


def maps_part(category: str, number: int) -> str:
    """Return how the names of the files of a part's maps begin; several tasks write them."""
    return f"{maps_parts(category)}/part-{number:05d}"


def fused_scores_file(category: str) -> str:
    """Return the file of a category's fused scores in a run: rows of `fused_schema`."""
    return f"{fused_parts(category)}.parquet"


def maps_file(category: str) -> str:
    """Return the file of a category's anomaly maps in a run: rows of `MAPS`."""
    return f"{maps_parts(category)}.parquet"


def shards_folder(category: str) -> str:
    """Return the folder of a category's feature shards in scratch, with one folder a backbone in it."""
    return f"features/{folder_name(category)}"


def checkpoint_file(category: str, backbone: str) -> str:
    """Return the file in scratch from which an interrupted training of a member resumes."""
    return f"checkpoints/{folder_name(category)}/{backbone}.safetensors"


def queue_file(name: str) -> str:
    """Return the file in scratch with the state of the queue of a Ray Train run of that name, while it runs."""
    return f"queues/{name}.json"
