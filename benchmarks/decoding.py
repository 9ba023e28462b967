"""Compare the speed of decoding image files with that of an earlier commit.

Both versions are built and installed as in `benchmarks.before_and_after`. Each measurement is a new process of one
thread on one CPU, which decodes every file several times in its own interpreter. Times are CPU times, so that other
processes of the machine have little effect.
"""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from benchmarks.before_and_after import COMMIT, Comparison, installed_versions, medians_of, take_turns
from benchmarks.compare import TextTable
from benchmarks.environments import Environment, InstallError
from benchmarks.processes import allowed_cpus, pinned

SIDE = 1024  # rows and columns of the images
HEADER = ("file", "before, images/s", "after, images/s", "after / before", "turns")
_SECONDS = 1.0  # minimum CPU time per file in each measurement
_READERS = {"before": "reconpatch.images", "after": "reconpatch"}  # version -> module of read_image
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Arguments: folder of the files, minimum CPU time per file in seconds, module of read_image. Prints JSON: name of
# each file -> CPU seconds per image, and sum of the pixels of the image.
_PROGRAM = """
import importlib, json, sys, time
from pathlib import Path

read_image = importlib.import_module(sys.argv[3]).read_image
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    total = float(read_image(data).sum(dtype="float64"))  # also loads what the first image needs
    count, start = 0, time.process_time()
    while count == 0 or time.process_time() - start < float(sys.argv[2]):
        read_image(data)
        count += 1
    found[path.name] = (time.process_time() - start) / count, total
print(json.dumps(found))
"""


def texture(side: int = SIDE, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return an image that compresses like a photograph of a surface.

    The spectrum of its brightness falls with the frequency, the color channels differ little, and every pixel has the
    noise of a sensor.

    Args:
        side: Rows and columns in pixels.
        seed: Seed of the texture and the noise.

    Returns:
        (side, side, 3) in [0, 1].
    """
    random = np.random.default_rng(seed)
    rows, cols = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    falling = 1.0 / np.maximum(np.hypot(rows, cols), 1.0 / side) ** 1.5
    layers = [np.fft.irfft2(np.fft.rfft2(random.normal(size=(side, side))) * falling, (side, side)) for _ in range(4)]
    shared, *colors = (layer / layer.std() for layer in layers)
    channels = [0.5 + 0.13 * shared + 0.03 * color for color in colors]
    return np.clip(np.stack(channels, axis=2) + random.normal(0.0, 0.008, (side, side, 3)), 0.0, 1.0)


def write_files(folder: Path, side: int = SIDE) -> list[str]:
    """Write the texture in each format.

    Args:
        folder: Existing folder for the files.
        side: Rows and columns in pixels.

    Returns:
        Names of the files, sorted.
    """
    values = texture(side)
    shallow, deep = np.rint(values * 255).astype(np.uint8), np.rint(values * 65535).astype(np.uint16)
    Image.fromarray(shallow).save(folder / "JPEG", "JPEG", quality=90)
    Image.fromarray(shallow).save(folder / "PNG", "PNG")
    images: dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.uint16]] = {
        "TIFF of 8 bits": shallow,
        "TIFF of 16 bits": deep,
    }
    for name, stored in images.items():
        for compression in (None, "lzw"):
            file = io.BytesIO()
            tifffile.imwrite(file, stored, photometric="rgb", compression=compression, rowsperstrip=64)
            (folder / (f"{name}, LZW" if compression else name)).write_bytes(file.getvalue())
    return sorted(path.name for path in folder.iterdir())


def cells(comparison: Comparison) -> tuple[str, ...]:
    """Return the row of the table, with the columns of `HEADER`.

    Args:
        comparison: Medians of the CPU seconds per image.
    """
    rates = f"{1 / comparison.before:.1f}", f"{1 / comparison.after:.1f}"
    return comparison.what, *rates, f"{comparison.ratio:.2f}", str(comparison.turns)


def tables(turns: int) -> Iterator[TextTable]:
    """Yield the table of all files.

    Args:
        turns: Number of measurements of each version.

    Raises:
        UsageError: The earlier commit is not in the history of this clone.
        InstallError: A version cannot be built, installed or run, or the two versions read different pixels.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environments = installed_versions(root)
        files = root / "files"
        files.mkdir()
        write_files(files)
        totals: dict[str, dict[str, float]] = {}

        def measure(side: str) -> dict[str, float]:
            found = one_turn(environments[side], _READERS[side], files)
            totals[side] = {name: total for name, (_, total) in found.items()}
            return {name: seconds for name, (seconds, _) in found.items()}

        comparisons = medians_of(take_turns(measure, turns))
    require_equal(totals["before"], totals["after"])
    title = f"Decoding, {SIDE} x {SIDE} RGB: commit {COMMIT} and the working tree"
    yield TextTable(title=title, header=HEADER, lines=[cells(comparison) for comparison in comparisons])


def one_turn(
    environment: Environment, module: str, files: Path, seconds: float = _SECONDS
) -> dict[str, tuple[float, float]]:
    """Decode all files in a new process of one thread.

    Args:
        environment: Environment in which the version is installed.
        module: Module that has the version's `read_image`.
        files: Folder of the files.
        seconds: Minimum CPU time per file in seconds.

    Returns:
        Name of a file -> CPU seconds per image, and the sum of the image's pixels.

    Raises:
        InstallError: The process failed; the message includes the end of its output.
    """
    command = [str(environment.python), "-c", _PROGRAM, str(files), str(seconds), module]
    environ = environment.environ | dict.fromkeys(_THREADS, "1")
    one_cpu = pinned(command, allowed_cpus()[:1])
    done = subprocess.run(one_cpu, capture_output=True, text=True, cwd=files.parent, env=environ)
    if done.returncode:
        raise InstallError(f"The images cannot be decoded with {module}: {done.stderr[-2000:]}")
    return {name: (time, total) for name, (time, total) in json.loads(done.stdout).items()}


def require_equal(before: dict[str, float], after: dict[str, float]) -> None:
    """Raise InstallError if the two versions read different pixels, because their times do not compare then.

    Args:
        before: Name of a file -> sum of the pixels that the earlier version reads.
        after: The same for the working tree.

    Raises:
        InstallError: Sums differ by more than the rounding of float32.
    """
    different = [name for name, total in before.items() if not np.isclose(total, after[name], rtol=1e-6)]
    if different:
        raise InstallError(f"The two versions read different pixels from {', '.join(different)}.")
