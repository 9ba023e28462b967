"""The rows of tables.parquet, and the printed tables."""

from __future__ import annotations

import pytest

from pipelines.commands.paper.published import IMAGE, MEAN, PaperTable, TableRow
from pipelines.commands.paper.side_by_side import COMPARED, compared_rows, show
from pipelines.storage.schemas import MetricsRow
from pipelines.tracking.console import Console

PUBLISHED = {"screw": 98.0, "carpet": 99.0, "objects": 97.0, "textures": 96.0, MEAN: 96.5}
TABLE = PaperTable(
    9, "a table", (IMAGE,), True, (TableRow("ours", "one", {IMAGE: PUBLISHED}), TableRow("PatchCore", "two")), "A note."
)


def measured(**aurocs: float) -> dict[str, MetricsRow]:
    return {name: MetricsRow(category=name, model="ensemble", image_auroc=auroc) for name, auroc in aurocs.items()}


def test_means_are_over_the_categories_that_every_row_has() -> None:
    runs = {"one": measured(screw=0.9, carpet=0.8), "two": measured(carpet=0.7)}
    rows = compared_rows(TABLE, runs, ("screw", "carpet"), {"one": "folder", "two": "folder"})
    figures = {(row.label, row.category): (row.published, row.ours) for row in rows}
    assert figures == {
        ("ours", "screw"): (98.0, pytest.approx(90.0)),
        ("ours", "carpet"): (99.0, pytest.approx(80.0)),
        ("ours", "textures: mean of 1"): (99.0, pytest.approx(80.0)),
        ("ours", "mean of 1"): (99.0, pytest.approx(80.0)),
        ("PatchCore", "screw"): (None, None),
        ("PatchCore", "carpet"): (None, pytest.approx(70.0)),
        ("PatchCore", "textures: mean of 1"): (None, pytest.approx(70.0)),
        ("PatchCore", "mean of 1"): (None, pytest.approx(70.0)),
    }
    assert list(rows[0].row()) == COMPARED.names[1:2] + COMPARED.names[:1] + COMPARED.names[2:]


def test_a_printed_table_has_one_line_per_category_and_no_empty_column(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"one": measured(screw=0.9), "two": measured(screw=0.7)}
    rows = compared_rows(TABLE, runs, ("screw",), {"one": "folder", "two": "folder"})
    show(Console(), TABLE, rows, ["lite0", "96 px"])
    printed = capsys.readouterr().out
    assert "Table 9: a table. AUROC in percent; ours: lite0; 96 px." in printed
    (screw,) = [line for line in printed.splitlines() if line.strip(" │|").startswith("screw")]
    assert [text for text in ("98.00", "90.00", "70.00") if text in screw] == ["98.00", "90.00", "70.00"]
    assert "-" not in screw.replace("--", "")
    assert printed.endswith("A note.\n")
