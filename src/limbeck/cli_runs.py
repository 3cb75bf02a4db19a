"""Commands on several runs: `limbeck ls`, `limbeck diff`. Registered in cli.py."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck import tables_runs
from limbeck.cli_options import AsJson, Verbose
from limbeck.terminal import show, work


def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that runs stand in.")] = Path(
        "runs"
    ),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """List the runs and evaluations of a folder: state, result, parameters, time."""
    with work(verbose):
        from limbeck.report.catalogue import catalogue

        show(catalogue(folder), as_json, tables_runs.catalogue_tables)


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory or evaluation.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another of the same kind.")],
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Compare two runs: results, recipe, text and models, versions and machine.

    Differences are the second run's figure less the first's.
    """
    with work(verbose):
        from limbeck.report.comparison import compare

        show(compare(first, second), as_json, tables_runs.comparison_tables)
