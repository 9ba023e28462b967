"""The house rules that a script can hold: who imports whom, how long a module is, which names there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
METHOD = sorted((ROOT / "reconpatch").rglob("*.py"))
MODULES = METHOD + [
    path for package in ("pipelines", "benchmarks", "study") for path in sorted((ROOT / package).rglob("*.py"))
]


def imported(path: Path) -> set[str]:
    """Top-level names of every import in a file, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_rules_see_the_packages() -> None:
    assert {path.stem for path in METHOD} >= {"similarity", "losses", "coreset", "scoring", "fusion"}
    assert "torch" in imported(ROOT / "reconpatch" / "losses.py")


@pytest.mark.parametrize("path", METHOD, ids=lambda path: path.stem)
def test_the_method_knows_neither_ray_nor_the_command_line(path: Path) -> None:
    assert not imported(path) & {"ray", "click", "rich", "pipelines"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_module_fits_in_a_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_drawers(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


def test_the_map_of_the_modules_names_each_of_them_and_no_other() -> None:
    method, pipelines = (ROOT / "docs" / "modules.md").read_text().split("## Where it runs")
    for package, text in (("reconpatch", method), ("pipelines", pipelines)):
        there = {path.stem for path in (ROOT / package).rglob("*.py")} - {"__init__"}
        named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]+)\|", text, re.MULTILINE)))
        assert sorted(named) == sorted(there), package


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("pipelines.shares", {"torch", "pyarrow", "rich"}),
        ("pipelines.decode", {"timm", "torchvision", "ray"}),
        ("pipelines.score", {"timm", "torchvision", "ray", "pandas"}),
        ("pipelines.cli", {"timm", "torchvision", "ray.train"}),
    ],
)
def test_a_process_imports_no_more_than_it_needs(module: str, without: set[str]) -> None:
    """Seconds of every run's start: a worker of Ray imports the module of the function that it is given."""
    program = f"import sys, {module}; print([name for name in {sorted(without)} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.strip() == "[]"
