"""The example scripts and the notebook run, and print what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests.pipelines.runs import Finished

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, *arguments: str | Path, cwd: Path) -> str:
    """Run an example script in a folder and return what it printed; it must succeed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=cwd,
        # One thread: tests that run at the same time would otherwise compete for the CPUs.
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_tested_and_named_in_the_documentation() -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    tests = Path(__file__).read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")} - {"solar_cells.py"}
    assert len(scripts) == 6
    for name in [*scripts, "good_parts_to_heat_map.ipynb"]:
        assert f"examples/{name}" in page
        assert f'"{name}"' in tests
    assert set(re.findall(r'^--8<-- "examples/(.+)"$', page, re.MULTILINE)) == scripts  # the site includes these files


def test_score_one_image(finished: Finished, data: Path, tmp_path: Path) -> None:
    image = data / "cloth" / "test" / "blot" / "000.png"
    printed = run_example(
        "score_one_image.py", finished.out / "models" / "cloth", image, "--out", "map.png", cwd=tmp_path
    )
    assert re.search(r"^score +\d+\.\d{3}$", printed, re.MULTILINE)
    assert re.search(r"^verdict +anomalous$", printed, re.MULTILINE)
    assert re.search(r"^compared +with cloth/train/good/\d+\.png", printed, re.MULTILINE)
    with Image.open(tmp_path / "map.png") as drawing:
        assert drawing.width > drawing.height > 300


def test_query_scores(finished: Finished, tmp_path: Path) -> None:
    printed = run_example("query_scores.py", finished.out, cwd=tmp_path)
    assert re.search(r"^ *cloth +blot +5 +\d", printed, re.MULTILINE)
    assert "Missed defects" in printed
    assert re.search(r"^ *cloth/train/good/\d+\.png +\d+$", printed, re.MULTILINE)


@pytest.mark.slow
def test_method_on_arrays(tmp_path: Path) -> None:
    printed = run_example("method_on_arrays.py", cwd=tmp_path)
    (auroc,) = re.findall(r"image AUROC +(\S+) on 30 test images", printed)
    assert float(auroc) > 0.8
    assert "false-positive rate at most 0.10" in printed


def text_of(notebook: Any) -> list[str]:
    """Return the printed text of each code cell, with every number replaced, since numbers depend on the machine."""
    printed = [
        "".join(output["text"] for output in cell.outputs if output.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return [re.sub(r"\d+(\.\d+)?", "#", text) for text in printed]


@pytest.mark.slow
def test_the_notebook_runs_and_its_stored_output_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stored = nbformat.read(EXAMPLES / "good_parts_to_heat_map.ipynb", as_version=4)
    fresh = nbformat.read(EXAMPLES / "good_parts_to_heat_map.ipynb", as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(fresh, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    assert text_of(fresh) == text_of(stored)
    images = [
        sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))
        for notebook in (stored, fresh)
    ]
    assert images == [3, 3]


@pytest.mark.slow
def test_fit_and_score(tmp_path: Path) -> None:
    printed = run_example("fit_and_score.py", cwd=tmp_path)
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    (image,) = re.findall(r"score_one_image\.py example-run/models/elpv_mono example-run-data/(\S+)", page)
    assert (tmp_path / "example-run-data" / image).is_file()
    highest = printed.partition("Highest scores:")[2].splitlines()[2:]
    assert len(highest) == 5
    assert all(line.split()[0].startswith("elpv_mono/test/defect/") and "True" in line for line in highest)


@pytest.mark.slow
def test_custom_list(tmp_path: Path) -> None:
    printed = run_example("custom_list.py", cwd=tmp_path)
    assert "path,category,split,label" in printed
    assert "train/good: 30 (25 for fitting, 5 for calibration)" in printed
    assert (tmp_path / "list-run" / "scores" / "fused" / "line 1%2Felpv_mono.parquet").is_file()


@pytest.mark.slow
def test_nightly(tmp_path: Path) -> None:
    printed = run_example("nightly.py", cwd=tmp_path)
    nights = re.findall(r"^elpv_mono +(\w+) +done +(\d+) +\d+ *$", printed, re.MULTILINE)
    assert nights == [("inconclusive", "16"), ("unchanged", "12")]
