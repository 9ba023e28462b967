"""What the documentation says can be done: links lead somewhere, commands parse, Python blocks run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.__main__ import main as benchmarks
from pipelines.cli.main import main
from pipelines.commands.compare import CHANGED, COMPARISON
from pipelines.data.records import INDEX
from pipelines.registry.night_table import NIGHT
from pipelines.storage import schemas
from study.__main__ import main as study
from tests.pipelines.nights import Factory, NightOutput
from tests.pipelines.runs import Finished

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
COMMANDS: dict[str, click.Command] = {
    "reconpatch-run": main,
    "python -m benchmarks": benchmarks,
    "python -m study": study,
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchor(heading: str) -> str:
    """GitHub's: lower case, no punctuation, hyphens for blanks."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if fragment:
            assert fragment in {anchor(line.lstrip("# ")) for line in there.read_text().splitlines() if line[:1] == "#"}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", page.read_text())
        waiting += [there for link in links if (there := (page.parent / link).resolve()) not in seen and there.exists()]
    assert set(PAGES) <= seen


@pytest.mark.parametrize(
    ("section", "schema"),
    [
        ("index.parquet", INDEX),
        ("scores/fused", schemas.fused_schema(["<backbone>"])),
        ("scores/members", schemas.MEMBER_SCORES),
        ("maps", schemas.MAPS),
        *(("models:", schema) for schema in (schemas.TRAIN, schemas.BANK_INDEX, schemas.TRAINING, schemas.AUDIT)),
        ("metrics.parquet", schemas.METRICS),
        ("failures.parquet", schemas.FAILURES),
        ("night.parquet", NIGHT),
        ("drift", schemas.DRIFT),
        *(("compare:", schema) for schema in (COMPARISON, CHANGED)),
    ],
)
def test_every_column_is_documented_in_its_files_section(section: str, schema: pa.Schema) -> None:
    text = (ROOT / "docs" / "schemas.md").read_text()
    (mine,) = [part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(section)]
    assert set(schema.names) <= set(re.findall(r"`([^`]+)`", mine))


def commands() -> Iterator[Any]:
    for page in PAGES:
        text = re.sub(r"\\\n\s*", " ", page.read_text())
        for line in re.findall(r"^(?:    |\$ )(.*)$", text, re.M):
            for name in COMMANDS:
                if line.startswith(name + " ") and "..." not in line:
                    yield pytest.param(name, line.removeprefix(name).split("#")[0], id=f"{named(page)}: {line[:60]}")


@pytest.mark.parametrize(("name", "words"), list(commands()))
def test_commands_are_understood(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").mkdir()
    words = re.sub(r"\[(.*?)\]", r"\1", words)
    parse(COMMANDS[name], name, shlex.split(words))


def parse(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Every command, option and value is one that there is; nothing is run."""
    if isinstance(command, click.Group):
        # A command keeps what it takes over from its group at its first call: it is the same group's here.
        here = click.Context(command, parent, name, **command.context_settings)
        parse(command.commands[words[0]], words[0], words[1:], here)
    else:
        command.make_context(name, words, parent)


@pytest.fixture(scope="module")
def place(finished: Finished, factory: Factory, first: NightOutput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a registry and a night's scores in it, under the names that the pages use."""
    root = tmp_path_factory.mktemp("docs")
    (root / "RUN").symlink_to(finished.out)
    (root / "SCORES").symlink_to(factory.scores)
    (root / "REGISTRY").symlink_to(factory.registry)
    (root / "part.png").write_bytes((factory.data / "cloth" / "test" / "good" / "000.png").read_bytes())
    return root


def blocks() -> list[Any]:
    found = []
    for page in PAGES:
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)):
            found.append(pytest.param(code, id=f"{named(page)} {number}"))
    return found


@pytest.mark.parametrize("code", blocks())
def test_python_blocks_run(code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    given = {"features": np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)}
    before = set(given)
    exec(compile(code.replace("screw", "cloth"), "docs", "exec"), given)  # the run's category has another name
    made = [value for name, value in given.items() if name not in before and not name.startswith("__")]
    assert made
