"""What the pipelines' tests are made of: small categories on disk, and calls of the command line."""

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
SCRIPT = "<script>alert(1)<∕script>&\"'.png"  # a file's name


def texture(seed: int, height: int = 120, width: int = 110) -> np.ndarray:
    """A woven cloth, (H, W) uint8: good parts differ by phase, brightness and noise."""
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    weave = np.sin(rows / 3 + generator.uniform(0, 6)) + np.sin(cols / 4 + generator.uniform(0, 6))
    return np.clip(128 + 30 * weave + generator.normal(0, 4, weave.shape), 0, 255).astype(np.uint8)


def with_defect(picture: np.ndarray, row: int, col: int, side: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """The picture with a bright blot, and the blot's mask."""
    mask = np.zeros(picture.shape, dtype=np.uint8)
    mask[row : row + side, col : col + side] = 255
    return np.where(mask > 0, 250, picture).astype(np.uint8), mask


def other_parts() -> list[np.ndarray]:
    """Pictures of other parts than the category's, each of another."""
    rows, cols = np.mgrid[:120, :110]
    stripes = 128 + 100 * np.sign(np.sin(rows / 2))
    rings = 128 + 100 * np.sin(np.hypot(rows - 60, cols - 55))
    checks = 255 * ((rows // 10 + cols // 10) % 2)
    noise = np.random.default_rng(0).integers(0, 256, rows.shape)
    return [np.asarray(each, np.uint8) for each in (stripes, rings, checks, noise)]


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def make_category(base: Path, seed: int, *, train: int = 12, good: int = 5, defects: int = 5) -> None:
    """A category in MVTec AD's layout, with masks."""
    for number in range(train):
        save(base / "train" / "good" / f"{number:03d}.png", texture(seed + number))
    for number in range(good):
        save(base / "test" / "good" / f"{number:03d}.png", texture(seed + 500 + number))
    for number in range(defects):
        picture, mask = with_defect(texture(seed + 700 + number), 40 + 4 * number, 60 - 5 * number)
        save(base / "test" / "blot" / f"{number:03d}.png", picture)
        save(base / "ground_truth" / "blot" / f"{number:03d}_mask.png", mask)


def files(out: Path) -> dict[str, tuple[int, int]]:
    """Every file but those that tell of the call itself, and reports → (time, inode): what was not written again is
    the same."""
    told = {"run.json", "index.parquet", "metrics.parquet", "metrics.csv", "failures.parquet"}
    return {
        path.relative_to(out).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in out.rglob("*")
        if path.is_file() and path.name not in told and "report" not in path.relative_to(out).parts
    }


def rows_of(file: Path) -> list[dict]:
    rows: list[dict] = pq.read_table(file).to_pylist()
    return rows


def lasting_rows(file: Path) -> list[dict]:
    """A file's rows, but for what tells of the call itself."""
    return [
        {name: value for name, value in row.items() if name not in ("run_id", "scored_at")} for row in rows_of(file)
    ]


@dataclass(frozen=True)
class Finished:
    """A finished call of the command line."""

    out: Path
    code: int
    stdout: str
    stderr: str


def ray_here() -> None:
    """Start the tests' own Ray in this process, if it does not run yet."""
    if not ray.is_initialized():
        # Ray ends all but two of the processes that wait for work; the next call has some for more.
        ray.init(
            address="local",
            num_cpus=2,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
            _system_config={"num_workers_soft_limit": 6},
        )


def call(*arguments: str) -> Finished:
    """Call `reconpatch-run` in this process, on the tests' own Ray: a second instead of ten."""
    ray_here()
    done = CliRunner().invoke(main, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Finished(_out(arguments), done.exit_code, done.stdout, done.stderr)


def call_alone(*arguments: str, timeout: int = 300) -> Finished:
    """Call it as a user does, in a process and with a Ray of its own."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=dict(os.environ))
    return Finished(_out(arguments), done.returncode, done.stdout, done.stderr)


def _out(arguments: Sequence[str]) -> Path:
    return Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else Path()


def ensemble_options(
    data: Path | str, out: Path | str, *more: str, backbones: Sequence[str] = BACKBONES
) -> tuple[str, ...]:
    members = [option for backbone in backbones for option in ("--backbone", backbone)]
    size = ("--image-size", str(SIZE), "--epochs", "60", "--max-steps", "40", "--coreset", "0.05", "--no-report")
    return ("ensemble", "--data", str(data), "--out", str(out), *size, *members, *more)


def ensemble(data: Path | str, out: Path | str, *more: str, backbones: Sequence[str] = BACKBONES) -> Finished:
    return call(*ensemble_options(data, out, *more, backbones=backbones))
