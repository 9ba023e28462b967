"""The command `reconpatch-run paper-tables`."""

from __future__ import annotations

from typing import Any

import click

from pipelines.cli.exit_codes import do
from pipelines.cli.generate import SectionedCommand, make_option
from pipelines.cli.options import config_file_option, data_option, run_field, where_options
from pipelines.config.option import Option, Section
from pipelines.tracking.console import Console

_OF_THE_PAPER = "the paper's"


@click.command(name="paper-tables", cls=SectionedCommand)
@config_file_option
@data_option
@run_field("out", help="Folder for the run directories and tables.parquet (path or URI).", required=True)
@make_option(
    "tables",
    click.IntRange(1, 6),
    Option(
        Section.RECIPE,
        "Number of a table in the paper (1-6). Repeat the option for several.",
        name="table",
        is_multiple=True,
        shown_default="all",
    ),
)
@run_field("categories")
@make_option(
    "backbones",
    tuple[str, ...],
    Option(
        Section.RECIPE,
        "Name of the backbone in timm; can be repeated. Runs with one backbone use the first, ensembles use all.",
        name="backbone",
        is_multiple=True,
        shown_default=_OF_THE_PAPER,
    ),
)
@run_field("weights")
@run_field("image_size", shown_default=_OF_THE_PAPER)
@run_field("epochs", shown_default=_OF_THE_PAPER)
@run_field(
    "max_steps",
    help="Maximum number of training steps per category and backbone (0 or more); 0 sets no limit, which takes days on "
    "CPUs. The tables list changed values.",
    shown_default="0",
)
@run_field("scratch", shown_default="_scratch in each run directory")
@run_field("scratch_gb")
@make_option("dry_run", bool, Option(Section.RUN, "Print the runs and write nothing."), default=False)
@where_options
def paper_tables_command(**options: Any) -> None:
    """Reproduce Tables 1-6 of the paper on MVTec AD.

    The results are printed next to the published figures. Each run has a run directory in --out, as written by
    `single` and `ensemble`. Running the command again computes only what is missing or out of date.
    """
    from pipelines.commands.paper.tables import PaperOptions, paper_tables

    do(lambda: paper_tables(PaperOptions(**options), Console()), resumes=True)
