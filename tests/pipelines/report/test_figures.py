"""Figures: files in each format, and category names with special characters."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.report.content import CategoryContent, ShownGallery
from pipelines.report.gallery import DETECTED, Gallery
from pipelines.report.render import Card, Scale
from pipelines.report.rows import Peak, ScoredImage
from pipelines.report.score_groups import ScoreGroups
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, Model
from tests.pipelines.runs import Finished, call

pytest.importorskip("matplotlib")
MODEL = Model("nut", "v1", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION, threshold=1.5)
IMAGE = ScoredImage(
    image_path="a.png",
    split="test",
    label=1,
    score=1.0,
    p_value=None,
    is_anomaly=True,
    model_version="v1",
    peak=Peak(),
)


def test_figures_are_written_in_each_format(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    formats = [word for kind in ("png", "svg", "pdf") for word in ("--figures", kind)]
    assert call("report", "--run", str(out), *formats).code == 0
    drawn = {path.name: path.read_bytes()[:5] for path in (out / "report" / "figures").iterdir()}
    beginnings = {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}
    assert drawn == {
        f"{folder}-{what}.{kind}": beginning
        for folder in ("cloth", "a%3Db x%2520y")
        for what in ("scores", "curves", "examples")
        for kind, beginning in beginnings.items()
    }


def test_a_category_name_with_dollar_signs_is_not_parsed_as_a_formula(tmp_path: Path) -> None:
    from pipelines.report.figures import draw_figures

    buffer = io.BytesIO()
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(buffer, "PNG")
    store = Store.of(str(tmp_path))
    store.write("a.png", buffer.getvalue())
    groups = ScoreGroups(good=(0.0, 1.0), defective=(2.0,))
    card = Card(image=IMAGE, picture="a.png", map="a.png", width=30, height=20)
    content = CategoryContent(
        category=r"part $\frac$ x",
        model=MODEL,
        images=(IMAGE,),
        groups=groups,
        beside=groups,
        scale=Scale(0.0, 1.0),
        galleries=(ShownGallery(Gallery(DETECTED, "", (IMAGE,), 1), (card,)),),
    )
    draw_figures(store, content, ["svg"])
    drawn = {path.name.rsplit("-", 1)[1] for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"scores.svg", "curves.svg", "examples.svg"}
