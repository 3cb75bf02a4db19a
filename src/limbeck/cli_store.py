"""`limbeck store`: verbs of the prediction store. What they do stands in limbeck/pipeline/store.py."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck import tables
from limbeck.cli_options import AsJson, Overrides, RecipeFile, Verbose
from limbeck.errors import UserError
from limbeck.terminal import show, work

store = typer.Typer(
    help="Run the teachers once and keep what they say.", no_args_is_help=True, rich_markup_mode=None
)

TeacherOption = Annotated[
    str | None, typer.Option("--teacher", metavar="NAME", help="Only this teacher's; all by default.")
]
Place = Annotated[Path, typer.Argument(metavar="PLACE", help="Recipe, or the folder of a store.")]


@store.command("build")
def build(
    recipe: RecipeFile,
    teacher: TeacherOption = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only the I-th of N shares, such as 1/4; a process for each."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Replace a store that was built otherwise.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run a recipe's teachers over its text and keep their predictions.

    The same command goes on with a store that was stopped, and makes damaged parts again. Under torchrun each
    process builds its part.
    """
    with work(verbose, several=True) as progress:
        from limbeck.recipe import load_recipe

        share = _shard(shard)
        loaded = load_recipe(recipe, overrides or [])
        from limbeck.pipeline.store import build as build_store

        made = build_store(loaded, teacher=teacher, shard=share, rebuild=rebuild, progress=progress)
        show(made, as_json, tables.store_tables)


@store.command("info")
def info(
    place: Place,
    teacher: TeacherOption = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show of what teacher, text and masks a store is, and what it takes."""
    with work(verbose):
        opened = _place(place, overrides)
        from limbeck.pipeline.store import info as store_info

        show(store_info(opened, teacher), as_json, tables.store_tables)


@store.command("verify")
def verify(
    place: Place,
    teacher: TeacherOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what is missing or damaged; needs the recipe.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Look at every byte of a store, and name what is damaged."""
    with work(verbose) as progress:
        opened = _place(place, overrides)
        from limbeck.pipeline.store import verify as verify_store

        found = verify_store(opened, teacher=teacher, repair=repair, progress=progress)
        if found["damage"] and not found["repaired"]:
            mend = "`limbeck store verify RECIPE --repair` makes it again"
            raise UserError("\n".join([*found["damage"], mend]))
        show(found, as_json, tables.store_tables)


def _place(place: Path, overrides: list[str] | None) -> Any:
    """A recipe, read; or the folder itself."""
    if place.is_dir():
        return place
    from limbeck.recipe import load_recipe

    return load_recipe(place, overrides or [])


def _shard(text: str | None) -> tuple[int, int]:
    """`I/N` as two numbers."""
    if text is None:
        return 1, 1
    index, slash, of = text.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and text.isascii()):
        raise UserError(f"--shard {text}: must be I/N, such as 1/4")
    return int(index), int(of)
