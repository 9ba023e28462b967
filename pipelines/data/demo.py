"""Data of the demo: images of real solar cells from the package elpv-dataset, linked into the layout of MVTec AD.

ELPV (Buerhop-Lope et al. 2018; Deitsch et al. 2019, CC BY-NC-SA 4.0): 2,624 electroluminescence images of cells of
44 modules, 300 x 300 pixels, 8-bit gray, with the probability of a defect. Cells with probability 0 are good, with 1
defective; the others are left out.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.errors import UsageError

# A deterministic subset, so that the demo takes minutes on two cores: of each kind of cell, the images whose names have
# the smallest SHA-256.
FIT_GOOD = 100
TEST_GOOD = 50
TEST_DEFECT = 50
CELL_KINDS = {"mono": "elpv_mono", "poly": "elpv_poly"}  # kind of cell -> category


def prepare_demo(out: Path) -> Path:
    """Link the subset into the folder <out>-data, and return that folder.

    Raises:
        UsageError: the package is not installed, or the folder holds other files.
    """
    root = out.with_name(f"{out.name}-data")
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        folders = {
            "train/good": good[:FIT_GOOD],
            "test/good": good[FIT_GOOD : FIT_GOOD + TEST_GOOD],
            "test/defect": defect[:TEST_DEFECT],
        }
        link_cells(root, kind, folders)
    return root


def cell_names(kind: str) -> tuple[list[str], list[str]]:
    """Return the names of the good and of the defective cells of a kind, in the order of their hashes.

    Args:
        kind: a key of `CELL_KINDS`.

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


def link_cells(root: Path, kind: str, folders: Mapping[str, Sequence[str]]) -> None:
    """Make a category of links to cells; links of another selection are removed.

    Args:
        root: the data root.
        kind: a key of `CELL_KINDS`.
        folders: folder below the category, such as 'train/good' -> names of its cells.

    Raises:
        UsageError: a folder holds other files than such links.
    """
    for folder, names in folders.items():
        _link(names, root / CELL_KINDS[kind] / folder)


def cells_folder() -> Path:
    """Return the folder of the package that holds labels.csv and the images.

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
