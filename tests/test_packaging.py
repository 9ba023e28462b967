"""The wheel contains both packages and nothing else, and a run works from the wheel alone."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

import reconpatch
from benchmarks.environments import (
    PACKAGES,
    build_wheel,
    check_origins,
    copy_build_files,
    create_environment,
    install,
    origins,
)
from tests.pipelines.runs import BACKBONES, make_category

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel in a copy of the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(copy_build_files(ROOT, folder / "source"), folder)


def test_the_wheel_contains_exactly_the_files_of_both_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name for name in names if ".dist-info/" not in name}
    in_tree = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packaged == in_tree
    templates = {name for name in packaged if name.startswith("pipelines/report/templates/")}
    assert {Path(name).name for name in templates} >= {"base.html", "index.html", "report.js", "style.css"}
    assert packaged >= {f"{package}/{name}" for package in PACKAGES for name in ("__init__.py", "py.typed")}


def test_the_wheel_has_the_version_of_the_code(wheel: Path) -> None:
    assert wheel.name.startswith(f"reconpatch_ray-{reconpatch.__version__}-")


def test_a_run_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    make_category(tmp_path / "data" / "cloth", seed=0, train=6, good=2, defects=2)
    environment = create_environment(tmp_path / "environment")
    assert origins(environment, tmp_path) == dict.fromkeys(PACKAGES)
    install(wheel, environment, tmp_path)
    member = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0")
    done = subprocess.run(
        [environment.command, "ensemble", "--data", "data", "--out", "run", *member],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment.environ,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_origins(origins(environment, tmp_path), environment)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["status"] == "complete"
    assert info["versions"]["reconpatch-ray"] == reconpatch.__version__
    assert (tmp_path / "run" / "scores" / "fused" / "cloth.parquet").is_file()
    assert "cloth" in (tmp_path / "run" / "report" / "index.html").read_text()
