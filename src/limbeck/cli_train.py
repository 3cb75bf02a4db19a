"""Commands that train a recipe's models: `run`, `pretrain`, `distill`. Registered in cli.py."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from limbeck import tables, tables_pipeline
from limbeck.cli_options import AsJson, Extend, Output, Overrides, RecipeFile, Verbose
from limbeck.errors import UserError
from limbeck.processes.together import command_again
from limbeck.terminal import show, work


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Output = None,
    extend: Extend = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Delete a training whose recipe, text or models changed; do it anew."),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Do what is missing of a recipe: its teachers, the student, glosses, measurements, the report.

    Those of [[pretrain]], [gloss], [eval] and [report] that the recipe has; `--set` and `--output` are of
    this recipe, not of those in its [[pretrain]]. The same command goes on with a run that was stopped.
    `torchrun --nproc-per-node N -m limbeck run RECIPE` trains on N processes, as it does with `pretrain` and
    `distill`.
    """
    with work(verbose, several=True) as progress:
        from limbeck.recipe import extended, load_recipe

        loaded = load_recipe(recipe, overrides or [])
        if extend is not None:
            loaded = extended(loaded, extend)
        from limbeck.pipeline import run_stages

        hint = command_again(sys.argv[1:])
        results = run_stages(
            loaded, output, extend=extend is not None, again=again, resume_hint=hint, progress=progress
        )
        show(results, as_json, tables_pipeline.stages_tables)


def pretrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Output = None,
    extend: Extend = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train without teachers: plain masked-LM training.

    As `run`, but refuses a recipe that has teachers, and trains the student alone.
    """
    _run(recipe, overrides, output, extend, as_json, verbose, teachers=False)


def distill(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Output = None,
    extend: Extend = None,
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Train it once more without each teacher: what each is worth."),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train with teachers.

    As `run`, but refuses a recipe that has none, and trains the student alone.
    """
    if not leave_one_out:
        _run(recipe, overrides, output, extend, as_json, verbose, teachers=True)
        return
    with work(verbose, several=True) as progress:
        from limbeck.recipe import load_recipe

        loaded = load_recipe(recipe, overrides or [])
        if extend is not None:
            raise UserError("--leave-one-out compares trainings of one length; leave out --extend")
        from limbeck.pipeline import leave_one_out as without_each

        hint = command_again(sys.argv[1:])
        results = without_each(loaded, output, resume_hint=hint, progress=progress)
        show(results, as_json, tables_pipeline.leave_one_out_tables)


def _run(
    path: Path,
    overrides: list[str] | None,
    output: Path | None,
    extend: int | None,
    as_json: bool,
    verbose: bool,
    *,
    teachers: bool,
) -> None:
    """The student alone. `teachers`: whether the recipe must have some or none."""
    with work(verbose, several=True) as progress:
        from limbeck.recipe import extended, load_recipe

        recipe = load_recipe(path, overrides or [])
        if not teachers and recipe.teachers:
            raise UserError(f"{path} has teachers; use `limbeck distill`, or take the [[teachers]] out")
        if teachers and not recipe.teachers:
            raise UserError(f"{path} has no [[teachers]]; add some, or use `limbeck pretrain`")
        if extend is not None:
            recipe = extended(recipe, extend)
        recipe = recipe.model_copy(update={"gloss": None})
        from limbeck.pipeline import run as run_recipe

        again = command_again(sys.argv[1:])
        results = run_recipe(recipe, output, extend=extend is not None, resume_hint=again, progress=progress)
        show(results, as_json, tables.run_tables)
