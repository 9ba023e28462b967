"""The demo's data: real solar cells of the package elpv-dataset, laid out as categories without being copied.

ELPV (Buerhop-Lope et al. 2018; Deitsch et al. 2019, CC BY-NC-SA 4.0): 2,624 electroluminescence images of cells of
44 modules, 300 x 300 pixels, 8-bit grey, with the probability of a defect. Good is probability 0, defective 1; the
doubtful thirds are left out.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from pipelines.usage import UsageError

# A deterministic subset, so that the whole takes minutes on two cores: of each kind of cell, the images whose names
# have the smallest SHA-256.
FIT_GOOD = 100
TEST_GOOD = 50
TEST_DEFECT = 50
CELL_KINDS = {"mono": "elpv_mono", "poly": "elpv_poly"}  # and the categories they make


def prepare_demo(out: Path) -> Path:
    """Lay out the subset in the folder <out>-data as links to the package's files, and return that folder.

    Raises:
        UsageError: the package is not installed, or the folder holds other files.
    """
    root = out.with_name(f"{out.name}-data")
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        link_cells(root, kind, good[:FIT_GOOD], good[FIT_GOOD : FIT_GOOD + TEST_GOOD], defect[:TEST_DEFECT])
    return root


def cell_names(kind: str) -> tuple[list[str], list[str]]:
    """The good and the defective cells of a kind, in the order of their names' hashes.

    Raises:
        UsageError: the package is not installed.
    """
    with (cells_folder() / "labels.csv").open() as lines:
        rows = [line.split() for line in lines]
    chosen = [(path, float(probability)) for path, probability, cell in rows if cell == kind]
    chosen.sort(key=lambda row: hashlib.sha256(row[0].encode()).hexdigest())
    return [path for path, probability in chosen if probability == 0.0], [
        path for path, probability in chosen if probability == 1.0
    ]


def link_cells(
    root: Path, kind: str, train: Sequence[str], test_good: Sequence[str], test_defect: Sequence[str]
) -> None:
    """Make a category of cells, as links; those of another selection go.

    Raises:
        UsageError: the folder holds other files than such links.
    """
    folder = root / CELL_KINDS[kind]
    for names, place in ((train, "train/good"), (test_good, "test/good"), (test_defect, "test/defect")):
        _link(names, folder / place)


def cells_folder() -> Path:
    """The folder of the package that holds labels.csv and images.

    Raises:
        UsageError: the package is not installed.
    """
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise UsageError("The images of solar cells are missing: pip install 'reconpatch-ray[demo]'.")
    return Path(package.origin).parent / "data"


def _link(names: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.is_symlink():
            raise UsageError(f"{old}: is not one of the demo's links; give the demo another --out.")
        old.unlink()
    source = cells_folder()
    for name in names:
        (folder / Path(name).name).symlink_to((source / name).resolve())
