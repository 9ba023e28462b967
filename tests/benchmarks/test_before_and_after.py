"""Tests of the comparison with an earlier commit: alternating turns, medians, and imports of each environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import before_and_after, environments
from benchmarks.before_and_after import COMMIT, Comparison, extract_commit, medians_of, take_turns
from benchmarks.environments import BUILD_FILES, Environment, InstallError, check_origins, dependency_folders, origins
from pipelines.errors import UsageError


def test_both_sides_are_measured_in_alternating_turns() -> None:
    calls: list[str] = []

    def measure(side: str) -> dict[str, float]:
        calls.append(side)
        return {"start": float(len(calls))}

    turns = take_turns(measure, 3)
    assert calls == ["before", "after"] * 3
    assert [turn["before"]["start"] for turn in turns] == [1.0, 3.0, 5.0]
    assert [turn["after"]["start"] for turn in turns] == [2.0, 4.0, 6.0]


def test_each_row_has_the_medians_of_its_own_operation() -> None:
    turns = [
        {"before": {"start": before, "job": 10.0}, "after": {"start": after, "job": 20.0}}
        for before, after in ((1.0, 2.0), (9.0, 2.5), (3.0, 50.0))
    ]
    start, job = medians_of(turns)
    assert (start.what, start.before, start.after, start.turns) == ("start", 3.0, 2.5, 3)
    assert (job.what, job.before, job.after, job.turns) == ("job", 10.0, 20.0, 3)


@pytest.mark.parametrize(
    ("before", "after", "ratio", "met"),
    [(10.0, 5.0, "2.00", "yes"), (9.5, 10.0, "0.95", "yes"), (9.4, 10.0, "0.94", "NO")],
)
def test_the_target_is_a_ratio_before_to_after_of_at_least_0_95(
    before: float, after: float, ratio: str, met: str
) -> None:
    assert Comparison("job", before, after, 5).cells() == ("job", f"{before:.2f}", f"{after:.2f}", ratio, met, "5")


def test_the_table_has_a_heading_for_every_cell() -> None:
    assert len(Comparison("job", 1.0, 1.0, 5).cells()) == len(before_and_after.HEADER)


def test_a_package_imported_from_outside_the_environment_is_an_error(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    own = {name: environment.site_packages / name / "__init__.py" for name in ("pipelines", "reconpatch")}
    check_origins(own, environment)
    elsewhere = tmp_path / "other" / "pipelines" / "__init__.py"
    with pytest.raises(InstallError, match=f"imports pipelines from {elsewhere}, not from the wheel"):
        check_origins(own | {"pipelines": elsewhere}, environment)
    with pytest.raises(InstallError, match="imports reconpatch from None"):
        check_origins({"pipelines": own["pipelines"]}, environment)


def test_origins_are_those_of_a_process_of_the_environment(tmp_path: Path) -> None:
    """The environment contains one package only, and the working directory of the process the other one."""
    environment = environments.create_environment(tmp_path / "environment")
    assert origins(environment, tmp_path) == {"pipelines": None, "reconpatch": None}
    installed = environment.site_packages / "pipelines" / "__init__.py"
    shadowing = tmp_path / "folder" / "reconpatch" / "__init__.py"
    for file in (installed, shadowing):
        file.parent.mkdir(parents=True)
        file.touch()
    files = origins(environment, tmp_path / "folder")
    assert files == {"pipelines": installed, "reconpatch": shadowing}
    with pytest.raises(InstallError, match="imports reconpatch from"):
        check_origins(files, environment)


def test_an_environment_has_the_dependencies_of_this_interpreter(tmp_path: Path) -> None:
    environment = environments.create_environment(tmp_path / "environment")
    program = "import click, numpy; print(click.__file__)"
    done = subprocess.run([environment.python, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert Path(done.stdout).parent.parent in map(Path, dependency_folders(sys.path))


def test_processes_of_an_environment_do_not_inherit_pythonpath(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "token")
    environ = Environment(tmp_path).environ
    assert "PYTHONPATH" not in environ
    assert environ["RAY_AUTH_TOKEN_PATH"] == "token"


def test_the_earlier_commit_is_read_from_the_history(tmp_path: Path) -> None:
    try:
        source = extract_commit(COMMIT, tmp_path / "source")
    except UsageError:
        pytest.skip("This clone does not have the full history.")
    assert {path.name for path in source.iterdir()} == set(BUILD_FILES)
    assert (source / "pipelines" / "cli.py").is_file()


def test_the_error_for_an_unknown_commit_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Commit 0000000 cannot be read"):
        extract_commit("0000000", tmp_path / "source")
