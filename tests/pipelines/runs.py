"""Helpers for the tests of `pipelines`: small categories on disk, and calls of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import ray
from click.testing import CliRunner
from PIL import Image

from pipelines.cli.main import main
from pipelines.config.presets import resolve_members

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
SIZE = 96
(MEMBER,) = resolve_members("ensemble", BACKBONES[:1], SIZE, {})
SCRIPT = "<script>alert(1)<∕script>&\"'.png"  # a file name that must not be executed


def texture(seed: int, height: int = 120, width: int = 110) -> np.ndarray:
    """Return an image of woven cloth, (height, width) uint8; good images differ in phase and noise."""
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    weave = np.sin(rows / 3 + generator.uniform(0, 6)) + np.sin(cols / 4 + generator.uniform(0, 6))
    return np.clip(128 + 30 * weave + generator.normal(0, 4, weave.shape), 0, 255).astype(np.uint8)


def with_defect(picture: np.ndarray, row: int, col: int, side: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with a bright square as a defect, and the mask of the defect."""
    mask = np.zeros(picture.shape, dtype=np.uint8)
    mask[row : row + side, col : col + side] = 255
    return np.where(mask > 0, 250, picture).astype(np.uint8), mask


def other_parts() -> list[np.ndarray]:
    """Return images that differ from the category and from each other."""
    rows, cols = np.mgrid[:120, :110]
    stripes = 128 + 100 * np.sign(np.sin(rows / 2))
    rings = 128 + 100 * np.sin(np.hypot(rows - 60, cols - 55))
    checks = 255 * ((rows // 10 + cols // 10) % 2)
    noise = np.random.default_rng(0).integers(0, 256, rows.shape)
    return [np.asarray(pixels, np.uint8) for pixels in (stripes, rings, checks, noise)]


def save(path: Path, picture: np.ndarray) -> None:
    """Write an image file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def make_category(base: Path, seed: int, *, train: int = 12, good: int = 5, defects: int = 5) -> None:
    """Write a category in the layout of MVTec AD, with masks."""
    for number in range(train):
        save(base / "train" / "good" / f"{number:03d}.png", texture(seed + number))
    for number in range(good):
        save(base / "test" / "good" / f"{number:03d}.png", texture(seed + 500 + number))
    for number in range(defects):
        picture, mask = with_defect(texture(seed + 700 + number), 40 + 4 * number, 60 - 5 * number)
        save(base / "test" / "blot" / f"{number:03d}.png", picture)
        save(base / "ground_truth" / "blot" / f"{number:03d}_mask.png", mask)


def files(out: Path) -> dict[str, tuple[int, int]]:
    """Return file → (modification time, inode), which are equal if the file was not written again.

    Reports and the files that every call writes are left out.
    """
    always_written = {"run.json", "index.parquet", "metrics.parquet", "metrics.csv", "failures.parquet"}
    return {
        path.relative_to(out).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in out.rglob("*")
        if path.is_file() and path.name not in always_written and "report" not in path.relative_to(out).parts
    }


def rows_of(file: Path) -> list[dict]:
    """Return the rows of a Parquet file or of a folder of Parquet files."""
    rows: list[dict] = pq.read_table(file).to_pylist()
    return rows


def lasting_rows(file: Path) -> list[dict]:
    """Return the rows of a Parquet file without the columns that differ between calls."""
    return [
        {name: value for name, value in row.items() if name not in ("run_id", "scored_at")} for row in rows_of(file)
    ]


@dataclass(frozen=True)
class Finished:
    """A finished call of the command line.

    Attributes:
        out: Value of `--out`; an empty path without that option.
        code: Exit code.
        stdout, stderr: Printed text.
    """

    out: Path
    code: int
    stdout: str
    stderr: str


def ray_here() -> None:
    """Start the Ray session of the tests in this process, unless it is running."""
    if not ray.is_initialized():
        # By default, Ray ends all but two idle workers, which the next call would have to start again.
        ray.init(
            address="local",
            num_cpus=2,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
            _system_config={"num_workers_soft_limit": 6},
        )


def call(*arguments: str) -> Finished:
    """Call `reconpatch-run` in this process and the Ray session of the tests: this takes one second instead of ten."""
    ray_here()
    done = CliRunner().invoke(main, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Finished(_out(arguments), done.exit_code, done.stdout, done.stderr)


def call_alone(*arguments: str, timeout: int = 300) -> Finished:
    """Call `reconpatch-run` in a new process with a new Ray session, as a user does."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=dict(os.environ))
    return Finished(_out(arguments), done.returncode, done.stdout, done.stderr)


def _out(arguments: Sequence[str]) -> Path:
    """Return the value of `--out`."""
    return Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else Path()


def ensemble_options(
    data: Path | str, out: Path | str, *more: str, backbones: Sequence[str] = BACKBONES
) -> tuple[str, ...]:
    """Return the arguments of a small run of `ensemble`."""
    members = [option for backbone in backbones for option in ("--backbone", backbone)]
    size = ("--image-size", str(SIZE), "--epochs", "60", "--max-steps", "40", "--coreset", "0.05", "--no-report")
    return ("ensemble", "--data", str(data), "--out", str(out), *size, *members, *more)


def ensemble(data: Path | str, out: Path | str, *more: str, backbones: Sequence[str] = BACKBONES) -> Finished:
    """Call a small run of `ensemble` in this process."""
    return call(*ensemble_options(data, out, *more, backbones=backbones))
