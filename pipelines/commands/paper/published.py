"""The figures of Tables 1-6 of the paper, in percent, and for each row the run that reproduces it.

Only figures of ReConPatch and PatchCore are included. Rows without published figures are baselines: the identity
adapter (PatchCore) on the same features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGE, PIXEL = "image_auroc", "pixel_auroc"

# The paper counts zipper as a texture, so that its means over textures are means of six categories.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "objects": (
        "bottle",
        "cable",
        "capsule",
        "hazelnut",
        "metal_nut",
        "pill",
        "screw",
        "toothbrush",
        "transistor",
    ),
    "textures": ("carpet", "grid", "leather", "tile", "wood", "zipper"),
}
CATEGORIES = GROUPS["objects"] + GROUPS["textures"]
MEAN = "mean"


@dataclass(frozen=True)
class TableRow:
    """A row of Tables 1-3, or a column of Tables 4-6.

    Attributes:
        label: Name of the row.
        run: Name of the run in `RUNS` that computes our figures.
        published: metric → category, group of categories or 'mean' → published AUROC in percent; empty if the paper
            has no figures for the row.
    """

    label: str
    run: str
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        number: Number of the table in the paper (1-6).
        title: Title of the table.
        metrics: Metrics of the table, as columns of metrics.parquet.
        by_category: Whether the paper prints every category; otherwise it prints only means.
        rows: Rows of the table.
        note: Note that is printed below the comparison; empty for none.
    """

    number: int
    title: str
    metrics: tuple[str, ...]
    by_category: bool
    rows: tuple[TableRow, ...]
    note: str = ""


def _means(image: float, pixel: float) -> dict[str, dict[str, float]]:
    """Return the published means of image AUROC and pixel AUROC."""
    return {IMAGE: {MEAN: image}, PIXEL: {MEAN: pixel}}


def _column(
    metric: str, objects: tuple[float, ...], textures: tuple[float, ...], means: tuple[float, float, float]
) -> dict[str, dict[str, float]]:
    """Return a column of Table 4 or 5: values in the order of GROUPS, then the means of objects, textures and all."""
    values = dict(zip(CATEGORIES, objects + textures, strict=True))
    return {metric: {**values, **dict(zip((*GROUPS, MEAN), means, strict=True))}}


# Each line of figures below is one group of categories of a column, in the order of the paper.
# fmt: off
_IMAGE_WRN101 = _column(
    IMAGE,
    (100, 99.66, 99.76, 100, 100, 96.21, 99.84, 100, 100),
    (100, 99.5, 100, 100, 99.47, 99.89),
    (99.5, 99.81, 99.62),
)
_IMAGE_WRN50 = _column(
    IMAGE,
    (100, 99.83, 98.8, 100, 100, 97.49, 98.52, 100, 100),
    (99.6, 100, 100, 99.78, 99.65, 99.76),
    (99.4, 99.8, 99.56),
)
_IMAGE_PATCHCORE = _column(
    IMAGE,
    (100, 99.5, 98.1, 100, 100, 96.6, 98.1, 100, 100),
    (98.7, 98.2, 100, 98.7, 99.2, 99.4),
    (99.14, 99.03, 99.1),
)
_PIXEL_WRN101 = _column(
    PIXEL,
    (98.78, 98.86, 99.24, 99.07, 99.29, 98.66, 99.59, 99.16, 96.18),
    (99.29, 98.73, 99.48, 97.15, 95.16, 99.25),
    (98.76, 98.18, 98.53),
)
_PIXEL_WRN50 = _column(
    PIXEL,
    (98.2, 99.3, 97.61, 98.94, 95.76, 95.35, 98.79, 98.88, 99.65),
    (98.75, 99.04, 96.02, 98.92, 98.9, 98.56),
    (98.05, 98.37, 98.18),
)
_PIXEL_PATCHCORE = _column(
    PIXEL,
    (98.6, 98.4, 98.8, 98.7, 98.4, 97.4, 99.4, 98.7, 96.3),
    (99, 98.7, 99.3, 95.6, 95, 98.8),
    (98.3, 97.73, 98.1),
)
# fmt: on

_QUOTED = "The paper quotes the figures of the PatchCore paper, which are those of its 25 % memory bank."
_ZIPPER = "Zipper is counted as a texture, as in the paper."

TABLES = (
    PaperTable(
        1,
        "coreset ratio, with D = 1024",
        (IMAGE, PIXEL),
        False,
        (
            TableRow("ReConPatch 25 %", "single-d1024-c25", _means(99.24, 98.01)),
            TableRow("ReConPatch 10 %", "single-d1024-c10", _means(99.27, 98.07)),
            TableRow("ReConPatch 1 %", "single-d1024", _means(99.49, 98.07)),
            TableRow("PatchCore 25 %", "patchcore-c25"),
            TableRow("PatchCore 1 %", "patchcore"),
        ),
    ),
    PaperTable(
        2,
        "output size D of the adapter",
        (IMAGE, PIXEL),
        False,
        (
            TableRow("ReConPatch D = 1024", "single-d1024", _means(99.49, 98.07)),
            TableRow("ReConPatch D = 512", "single", _means(99.56, 98.07)),
            TableRow("ReConPatch D = 256", "single-d256", _means(99.53, 98.03)),
            TableRow("ReConPatch D = 128", "single-d128", _means(99.52, 97.94)),
            TableRow("ReConPatch D = 64", "single-d64", _means(99.14, 97.68)),
            TableRow("PatchCore", "patchcore"),
        ),
    ),
    PaperTable(
        3,
        "layers (levels in the paper), with s = 5 and D = 512",
        (IMAGE, PIXEL),
        False,
        (
            TableRow("ReConPatch levels 2+3", "single-s5", _means(98.84, 97.82)),
            TableRow("ReConPatch levels 1+2+3", "segmentation", _means(98.7, 98.18)),
            TableRow("PatchCore levels 1+2+3", "patchcore-segmentation"),
        ),
    ),
    PaperTable(
        4,
        "image AUROC of one backbone",
        (IMAGE,),
        True,
        (
            TableRow("PatchCore WRN-50 224 25 %", "patchcore-c25", _IMAGE_PATCHCORE),
            TableRow("PatchCore WRN-50 224 1 %", "patchcore"),
            TableRow("ReConPatch WRN-50 224", "single", _IMAGE_WRN50),
            TableRow("PatchCore WRN-101 480 1 %", "patchcore-480"),
            TableRow("ReConPatch WRN-101 480", "single-480", _IMAGE_WRN101),
        ),
        f"{_ZIPPER} {_QUOTED}",
    ),
    PaperTable(
        5,
        "pixel AUROC of one backbone",
        (PIXEL,),
        True,
        (
            TableRow("PatchCore WRN-50 224 25 %", "patchcore-c25", _PIXEL_PATCHCORE),
            TableRow("PatchCore WRN-50 224 levels 1+2+3", "patchcore-segmentation"),
            TableRow("ReConPatch WRN-50 224 levels 1+2+3", "segmentation", _PIXEL_WRN50),
            TableRow("PatchCore WRN-101 480 1 %", "patchcore-480"),
            TableRow("ReConPatch WRN-101 480", "single-480", _PIXEL_WRN101),
        ),
        f"{_ZIPPER} {_QUOTED} The WRN-50 figures of ReConPatch seem to be in the wrong rows of the paper "
        f"(transistor 99.65, leather 96.02): compare the means, not the categories.",
    ),
    PaperTable(
        6,
        "ensembles",
        (IMAGE, PIXEL),
        False,
        (
            TableRow("PatchCore 320", "patchcore-ensemble-320", _means(99.6, 98.2)),
            TableRow("ReConPatch 320", "ensemble-320", _means(99.67, 98.36)),
            TableRow("PatchCore 480", "patchcore-ensemble-480"),
            TableRow("ReConPatch 480", "ensemble-480", _means(99.72, 98.67)),
        ),
    ),
)
